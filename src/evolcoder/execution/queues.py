"""The queues of a pool: items that wait for a worker, and the callers that wait for their results."""

from __future__ import annotations

import asyncio
import queue
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol


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
        self._loop = asyncio.get_running_loop()
        self.reply: asyncio.Future[Any] = self._loop.create_future()

    def deliver(self, results: list[tuple[Any, Any]]) -> None:
        """Give the task its result."""
        self._tell(results[0][1], None)

    def fail(self, error: BaseException) -> None:
        """Raise in the task."""
        self._tell(None, error)

    def _tell(self, result: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed, nobody waits
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.reply.done():
            return
        if error is not None:
            self.reply.set_exception(error)
        else:
            self.reply.set_result(result)
