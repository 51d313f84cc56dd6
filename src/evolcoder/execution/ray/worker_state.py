"""The workers of a Ray cluster, the items they were sent, and the callers that wait for the results."""

from __future__ import annotations

import asyncio
import queue
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from evolcoder.execution.engine import Place

_ROUND_TRIP_S = 0.1
"""A worker is kept this much work ahead, and two answers' worth."""
_SPAN_S = 0.02
"""A rate is measured over at least this long: two answers may come one right after the other."""
_MOST_AHEAD = 4096


class Waiter(Protocol):
    """Who waits for results."""

    closed: bool

    def deliver(self, results: list[tuple[Any, Any]]) -> None:
        """Take (tag, result) pairs."""
        ...

    def fail(self, error: BaseException) -> None:
        """Learn that no further result comes."""
        ...


@dataclass(slots=True, eq=False)
class PendingItem:
    """An item on its way."""

    number: int
    tag: Any
    item: Any
    waiter: Waiter
    losses: int = 0
    """Workers that were lost with it, by death or with their machine."""


class ThreadWaiter:
    """Results for a thread."""

    def __init__(self) -> None:
        self.closed = False
        self._queue: queue.SimpleQueue[list[tuple[Any, Any]] | BaseException] = queue.SimpleQueue()

    def deliver(self, results: list[tuple[Any, Any]]) -> None:
        """Pass results on to `take`."""
        self._queue.put(results)

    def fail(self, error: BaseException) -> None:
        """Have `take` raise."""
        self._queue.put(error)

    def take(self) -> list[tuple[Any, Any]]:
        """Return what is there next; raises what failed."""
        got = self._queue.get()
        if isinstance(got, BaseException):
            raise got
        return got


class TaskWaiter:
    """One result for a task of an event loop."""

    def __init__(self) -> None:
        self.closed = False
        self._told: Future[Any] = Future()
        self.reply = asyncio.wrap_future(self._told)

    def deliver(self, results: list[tuple[Any, Any]]) -> None:
        """Give the task its result."""
        with suppress(InvalidStateError):  # nobody waits any more
            self._told.set_result(results[0][1])

    def fail(self, error: BaseException) -> None:
        """Raise in the task."""
        with suppress(InvalidStateError):
            self._told.set_exception(error)


@dataclass(frozen=True, slots=True)
class HostHandle:
    """An actor, as the driver knows it."""

    number: int
    place: Place
    actor: Any
    node_id: str
    """The node it was bound to, "" where Ray chose."""


@dataclass(slots=True, eq=False)
class WorkerState:
    """A worker."""

    host: HostHandle
    sent: dict[int, PendingItem] = field(default_factory=dict)
    """What it has not reported, in the order sent."""
    calls: int = 0
    """Exchanges it has not answered."""
    ready: bool = False
    apart: bool = False
    """Whether it works on items that were on a lost worker, and on nothing else."""
    asked_back: bool = False
    """Whether it was asked for what it has not begun."""
    ahead: int = 2
    """How many items keep it busy."""
    rate: float = 0.0
    """Items a second; 0 before it is known."""
    heard_at: float = 0.0
    _since: float = 0.0
    _done: int = 0

    def begins(self) -> None:
        """Note that it has something to do from now on."""
        self.heard_at = self._since = time.monotonic()
        self._done = 0

    def learn(self, done: int, interval_s: float, most: int) -> None:
        """Learn from an answer of `done` results how many items keep it busy, at most `most`."""
        self.heard_at = time.monotonic()
        self.asked_back = False
        self._done += done
        span_s = self.heard_at - self._since
        if not self._done or span_s < _SPAN_S:
            return
        rate = self._done / span_s
        self.rate = rate if not self.rate else 0.7 * self.rate + 0.3 * rate
        wanted = min(int((_ROUND_TRIP_S + 2 * interval_s) * self.rate), 2 * max(self.ahead, self._done))
        self.ahead = max(2, min(wanted, most, _MOST_AHEAD))
        self._since, self._done = self.heard_at, 0
