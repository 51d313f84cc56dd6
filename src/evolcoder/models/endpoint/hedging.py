"""Requests in flight: repeats slow ones, and gives up on those past the deadline.

A timer looks at the oldest requests a few times a second, so a request that is answered in the usual time
needs no timer of its own. The usual time is learnt for each answer length, because an answer of one word and
one of 2,000 tokens take different times. A request is slow when it took much longer than usual and requests
that were sent after it are answered. If none of those is answered either, the endpoint or this machine is
stalled, and a second request would not help.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evolcoder.models.endpoint.address import Endpoint
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.stats import Latencies

_LEAST_SEEN = 20
_MOST_SAVED_UP = 50.0
_MOST_HEDGES = 2
_LONELY = 2.5
"""How many times longer a request waits where none sent after it is answered: a stall, or a stage's end."""


@dataclass(slots=True, eq=False)
class Flight:
    """One request and its attempts under way."""

    endpoint: Endpoint
    """Where it was sent first."""
    path: str
    body: bytes
    length: int
    """Answer length asked for, in tokens: the class its latency belongs to."""
    tokens: float
    """Tokens expected of one attempt."""
    done: asyncio.Future[Any]
    attempts: dict[asyncio.Task[None], None] = field(default_factory=dict)
    """Attempts under way, the oldest first."""
    begun: float = 0.0
    """When the first of them was sent; 0 while it waits for the rate limit."""
    hedges: int = 0


class Watch:
    """The flights of one model, and when to hedge."""

    def __init__(
        self,
        settings: EndpointSettings,
        hedge: Callable[[Flight], None],
        give_up: Callable[[Flight], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._hedge = hedge
        self._give_up = give_up
        self._flights: dict[Flight, None] = {}
        self._usual: defaultdict[int, Latencies] = defaultdict(Latencies)
        self._newest: dict[int, float] = {}
        """When the youngest request that is answered was sent, by length."""
        self._saved = 10.0 if settings.hedge_share > 0 else 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looked = self._loop.time()

    def begin(self, flight: Flight) -> None:
        """Watch a flight from now on; the first attempt was just sent."""
        flight.begun = self._loop.time()
        self._flights[flight] = None
        if self._timer is None:
            self._looked = flight.begun
            self._timer = self._loop.call_later(0.1, self._look)

    def end(self, flight: Flight) -> None:
        """Watch it no longer."""
        self._flights.pop(flight, None)

    def took(self, flight: Flight, seconds: float) -> None:
        """Learn how long an attempt took; of one given up, how long at least."""
        self._usual[flight.length].add(seconds)
        sent_at = self._loop.time() - seconds
        self._newest[flight.length] = max(sent_at, self._newest.get(flight.length, sent_at))
        self._saved = min(self._saved + self._settings.hedge_share, _MOST_SAVED_UP)

    def slow_after_s(self, length: int) -> float:
        """Return when a request counts as slow; infinite while too few were seen."""
        usual = self._usual.get(length)
        if usual is None or usual.count < _LEAST_SEEN:
            return float("inf")
        # Twice the 95th percentile: a hedge for about one request in a hundred where times vary as usual.
        return max(2.0 * usual.quantile(0.95), 0.2)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flights.clear()

    def _look(self) -> None:
        now = self._loop.time()
        if self._settings.hedge_share > 0:
            # A little for time passed: at a stage's end the last slow ones find no answered ones to live on.
            self._saved = min(self._saved + (now - self._looked), _MOST_SAVED_UP)
        self._looked = now
        slow_after: dict[int, float] = {}
        soonest = 1.0
        for flight in list(self._flights):
            age = now - flight.begun
            if age < 0.1:
                break  # those behind it are younger still
            limit = slow_after.get(flight.length)
            if limit is None:
                limit = slow_after[flight.length] = self.slow_after_s(flight.length)
                soonest = min(soonest, max(limit / 4, 0.05))
            if age >= self._settings.timeout_s:
                self._give_up(flight)
            elif flight.hedges < _MOST_HEDGES and self._saved >= 1 and self._is_slow(flight, age, limit):
                self._saved -= 1
                flight.hedges += 1
                self._hedge(flight)
        self._timer = self._loop.call_later(soonest, self._look) if self._flights else None

    def _is_slow(self, flight: Flight, age: float, limit: float) -> bool:
        """Return whether a request of this age is to be sent again; it is slow after `limit` seconds."""
        due = limit * (flight.hedges + 1)
        overtaken = self._newest.get(flight.length, 0.0) - flight.begun >= limit / 2
        return age >= (due if overtaken else _LONELY * due)
