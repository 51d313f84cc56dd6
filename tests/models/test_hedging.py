"""Which requests are asked a second time, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from virtual_time import run_in_virtual_time

from evolcoder.models.endpoint.address import Endpoint
from evolcoder.models.endpoint.hedging import Flight, Watch
from evolcoder.models.endpoint.settings import EndpointSettings

NEVER = 1e9


def hedged(n: int, at_once: int, seconds_of: Callable[[int, float], float]) -> list[tuple[int, float]]:
    """Return (request, its age) of each second asking; request i sent at t takes `seconds_of(i, t)`."""
    found: list[tuple[int, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        numbers: dict[Flight, int] = {}

        def hedge(flight: Flight) -> None:
            found.append((numbers[flight], loop.time() - flight.begun))
            flight.done.set_result(None)

        watch = Watch(EndpointSettings(hedge_share=0.05), hedge, lambda flight: None)
        places = asyncio.Semaphore(at_once)

        async def one(i: int) -> None:
            async with places:
                flight = Flight(cast(Endpoint, None), "", b"", 100, 0.0, loop.create_future())
                numbers[flight] = i
                watch.begin(flight)
                begun = loop.time()
                answered: Any = loop.call_later(
                    seconds_of(i, begun), lambda: flight.done.done() or flight.done.set_result(None)
                )
                await flight.done
                answered.cancel()
                watch.took(flight, loop.time() - begun)
                watch.end(flight)

        await asyncio.gather(*map(one, range(n)))
        watch.close()

    run_in_virtual_time(main())
    return found


def test_a_request_that_others_overtake_is_asked_again_soon() -> None:
    (found,) = hedged(400, 20, lambda i, now: NEVER if i == 200 else 0.2)
    assert found[0] == 200
    assert found[1] < 0.8


def test_the_last_request_of_all_is_asked_again_though_nothing_overtakes_it() -> None:
    (found,) = hedged(400, 20, lambda i, now: NEVER if i == 399 else 0.2)
    assert found[0] == 399
    assert found[1] < 1.5


def test_a_stall_of_everything_is_no_reason_to_ask_again() -> None:
    def stalled(i: int, now: float) -> float:
        due = now + 0.2
        return 0.2 if not 2.0 <= due < 2.6 else 2.6 - now + 0.0001 * i

    assert hedged(400, 20, stalled) == []
