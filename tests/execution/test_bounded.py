from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from evolcoder.execution.bounded import gathered, map_bounded
from evolcoder.execution.event_loop import run_async


async def collect(function, items, limit):  # type: ignore[no-untyped-def]
    return [result async for result in map_bounded(function, items, limit)]


def test_results_come_in_the_order_of_the_items() -> None:
    draw = random.Random(0)

    async def double(n: int) -> int:
        await asyncio.sleep(draw.random() / 200)
        return 2 * n

    assert run_async(collect(double, range(100), 8)) == [2 * n for n in range(100)]


def test_no_more_run_at_once_than_the_limit_and_items_are_taken_as_needed() -> None:
    running = most = taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield n

    async def work(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return n

    async def main() -> None:
        async with aclosing(map_bounded(work, items(), 5)) as results:
            async for n in results:
                assert taken <= n + 1 + 4 * 5
                if n == 500:
                    break

    run_async(main())
    assert most == 5
    assert taken < 1000


def test_one_slow_item_does_not_idle_the_rest() -> None:
    slow = asyncio.Event()
    done: list[int] = []

    async def work(n: int) -> int:
        if n == 0:
            await slow.wait()
        done.append(n)
        if len(done) == 15:
            slow.set()
        return n

    assert run_async(collect(work, range(30), 4)) == list(range(30))
    assert done.index(0) >= 15


def test_an_error_cancels_what_is_in_flight() -> None:
    cancelled = 0

    async def work(n: int) -> int:
        nonlocal cancelled
        if n == 3:
            await asyncio.sleep(0.01)
            raise RuntimeError("third")
        try:
            await asyncio.sleep(0 if n < 3 else 60)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return n

    with pytest.raises(RuntimeError, match="third"):
        run_async(collect(work, range(100), 6))
    assert cancelled >= 5


def test_a_limit_below_one_is_refused() -> None:
    async def work(n: int) -> int:
        return n

    with pytest.raises(ValueError, match="at least 1"):
        run_async(collect(work, range(3), 0))


def test_progress_is_told_as_results_come_and_they_are_returned_in_order() -> None:
    first_may_end = asyncio.Event()
    told: list[int] = []

    class Bar:
        def advance(self, n: int = 1, **facts: str | float) -> None:
            told.append(n)
            if len(told) == 9:
                first_may_end.set()

    async def work(n: int) -> int:
        if n == 0:
            await first_may_end.wait()
        return n

    found = asyncio.wait_for(gathered(work, range(10), 20, Bar()), 10)
    assert run_async(found) == list(range(10))
    assert told == [1] * 10
