"""What the limiter lets through to servers of known character, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from virtual_time import run_in_virtual_time

from evolcoder.models.endpoint.rate_limit import RateLimiter

LATENCY_S = 0.2


@dataclass
class Outcome:
    seconds: float
    sent: int
    refused: int
    most_in_flight: int
    limiter: RateLimiter


class Server:
    """Answers in 200 ms unless a character says otherwise; refuses in 20 ms."""

    def __init__(
        self, refuse: Callable[[float], bool], slots: int = 10**9, broken_share: float = 0.0
    ) -> None:
        self.refuse = refuse
        self.broken = at_random(broken_share)
        self.slots = asyncio.Semaphore(slots)

    async def ask(self) -> str:
        loop = asyncio.get_running_loop()
        if self.refuse(loop.time()):
            await asyncio.sleep(0.02)
            return "refused"
        if self.broken(loop.time()):
            await asyncio.sleep(0.02)
            return "broken"
        async with self.slots:
            await asyncio.sleep(LATENCY_S)
        return "answered"


def bucket(per_second: float) -> Callable[[float], bool]:
    """A token bucket one second deep."""
    state = [per_second, 0.0]

    def refuse(now: float) -> bool:
        state[0] = min(per_second, state[0] + (now - state[1]) * per_second)
        state[1] = now
        if state[0] < 1:
            return True
        state[0] -= 1
        return False

    return refuse


def at_random(share: float) -> Callable[[float], bool]:
    draw = random.Random(0)
    return lambda now: draw.random() < share


async def drive(server: Server, n: int, most: int, rpm: float | None = None) -> Outcome:
    loop = asyncio.get_running_loop()
    limiter = RateLimiter(most, rpm, None)
    sent = refused = top = 0

    async def one() -> None:
        nonlocal sent, refused, top
        attempt = 0
        while True:
            await limiter.enter(0, retry=attempt > 0)
            sent += 1
            top = max(top, limiter.in_flight)
            begun = loop.time()
            outcome = await server.ask()
            if outcome == "answered":
                limiter.limits.answered(loop.time(), loop.time() - begun, limiter.waiting > 0)
            elif outcome == "broken":
                limiter.limits.broke(loop.time())
            else:
                refused += 1
                limiter.limits.refused(loop.time(), None)
            limiter.leave()
            if outcome == "answered":
                return
            attempt += 1
            await asyncio.sleep(min(0.05 * 2 ** (attempt - 1), 1.0))

    begun = loop.time()
    await asyncio.gather(*(one() for _ in range(n)))
    return Outcome(loop.time() - begun, sent, refused, top, limiter)


@pytest.mark.parametrize("limit", [50, 100, 700])
def test_an_untold_rate_limit_is_found_and_used(limit: int) -> None:
    async def main() -> Outcome:
        return await drive(Server(bucket(limit)), n=60 * limit, most=256)

    found = run_in_virtual_time(main())
    assert 60 * limit / found.seconds >= 0.93 * limit
    assert found.refused < 0.06 * found.sent


def test_a_told_rate_limit_is_used_without_refusals() -> None:
    async def main() -> Outcome:
        return await drive(Server(bucket(100)), n=2000, most=256, rpm=6000)

    found = run_in_virtual_time(main())
    assert 2000 / found.seconds >= 0.93 * 100
    assert found.refused == 0


@pytest.mark.parametrize(
    ("share", "broken_share", "most_times"),
    [(0.0, 0.0, 1.08), (0.03, 0.02, 1.15), (0.10, 0.10, 1.45), (0.3, 0.0, 3.0)],
)
def test_failures_at_random_do_not_slow_the_rest(
    share: float, broken_share: float, most_times: float
) -> None:
    async def main() -> Outcome:
        return await drive(Server(at_random(share), broken_share=broken_share), n=20_000, most=256)

    found = run_in_virtual_time(main())
    assert found.seconds <= most_times * 20_000 * LATENCY_S / 256


def test_a_lifted_limit_is_noticed() -> None:
    async def main() -> Outcome:
        limited = bucket(50)
        return await drive(Server(lambda now: now < 10 and limited(now)), n=10_000, most=256)

    assert run_in_virtual_time(main()).seconds < 10 + 25


def test_more_in_flight_than_the_server_works_on_is_not_asked_for_long() -> None:
    async def main() -> Outcome:
        return await drive(Server(lambda now: False, slots=40), n=6000, most=2048)

    found = run_in_virtual_time(main())
    assert found.seconds <= 1.1 * 6000 * LATENCY_S / 40
    assert found.limiter.limits.allowed < 300
