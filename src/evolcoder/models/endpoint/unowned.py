"""Requests in flight whose askers were cancelled: the run ends by an error, and their answers are paid for.

They are taken as they come; closing a model waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from evolcoder.models.endpoint.address import Endpoint
from evolcoder.models.endpoint.chat_format import Failure, Reply
from evolcoder.models.endpoint.hedging import Flight

Take = Callable[[Reply | Failure], None]
_log = logging.getLogger(__name__)


class UnownedFlights:
    """The flights of one model that nobody waits for any more."""

    def __init__(self, endpoints: Sequence[Endpoint], timeout_s: float) -> None:
        self._endpoints, self._timeout_s = endpoints, timeout_s
        self._flights: dict[Flight, None] = {}

    def __contains__(self, flight: Flight) -> bool:
        return flight in self._flights

    def add(self, flight: Flight, take: Take) -> None:
        """Have `take` called with what comes of a flight; what is not sent yet of it is not sent."""
        if flight.done.cancelled():  # together with its asker; an answer may have come just before
            flight.done = asyncio.get_running_loop().create_future()
        self._flights[flight] = None
        flight.done.add_done_callback(partial(self._over, flight, take))
        for task in flight.attempts:
            if not any(task in endpoint.in_flight for endpoint in self._endpoints):
                task.cancel()

    async def wait(self) -> None:
        """Wait until none is in flight; not past deadlines, at addresses that are gone, nor at Ctrl-C."""
        shown = ", ".join(endpoint.shown for endpoint in self._endpoints)
        told, task = False, asyncio.current_task()
        while (coming := sum(map(self._may_come, self._flights))) and not (task and task.cancelling()):
            if not told:
                told = True
                _log.warning(
                    "%s: %d answers in flight are waited for, they are paid for; Ctrl-C ends that",
                    shown,
                    coming,
                )
            await asyncio.sleep(0.02)

    def cancel(self) -> None:
        """Give up those that are left."""
        for flight in self._flights:
            for task in flight.attempts:
                task.cancel()

    def _may_come(self, flight: Flight) -> bool:
        now = asyncio.get_running_loop().time()
        where = [endpoint for endpoint in self._endpoints if flight.attempts.keys() & endpoint.in_flight]
        in_time = now < flight.begun + self._timeout_s
        return in_time and any(e.dead is None or now < e.awaited_until for e in where)

    def _over(self, flight: Flight, take: Take, done: asyncio.Future[Any]) -> None:
        del self._flights[flight]
        if not done.cancelled() and done.exception() is None and done.result()[0] is not None:
            take(done.result()[0])
