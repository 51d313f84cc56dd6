"""Map an async function over items, in order, with a bound on what is in flight and on what waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

from evolcoder.progress import Bar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def map_bounded(
    function: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> AsyncGenerator[Result, None]:
    """Yield `function(item)` in the order of `items`, at most `limit` of them running at once.

    At most 4 times `limit` results are begun and not yet yielded, so memory stays flat however slow one
    item is, and one slow item does not idle the rest at once. The first exception of `function` cancels
    what is in flight and is raised; closing the iterator cancels too (use `contextlib.aclosing`).
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, found {limit}")
    slots = asyncio.Semaphore(limit)

    async def run(item: Item) -> Result:
        async with slots:
            return await function(item)

    begun: deque[asyncio.Task[Result]] = deque()
    iterator = iter(items)
    exhausted = False
    try:
        while True:
            while not exhausted and len(begun) < 4 * limit:
                try:
                    begun.append(asyncio.create_task(run(next(iterator))))
                except StopIteration:
                    exhausted = True
            if not begun:
                return
            result = await begun[0]
            begun.popleft()
            yield result
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def gathered(
    function: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int, bar: Bar
) -> list[Result]:
    """Return all that `map_bounded` yields; `bar` advances by one as each comes, in whatever order."""

    async def told(item: Item) -> Result:
        result = await function(item)
        bar.advance()
        return result

    async with aclosing(map_bounded(told, items, limit)) as results:
        return [result async for result in results]
