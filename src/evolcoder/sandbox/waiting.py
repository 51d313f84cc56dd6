"""Work that goes on in steps: between them it says what it waits for, so that one thread serves many."""

from __future__ import annotations

import select
import time
from collections.abc import Collection, Generator
from typing import Generic, NamedTuple, TypeVar

Result = TypeVar("Result")
Key = TypeVar("Key")
_NEVER = float("inf")


class Wait(NamedTuple):
    """What work waits for: that one of these descriptors, if any, can be read, for so long at most."""

    descriptors: tuple[int, ...]
    most_ms: float | None = None


Waiting = Generator[Wait, Collection[int], Result]
"""Work that is sent those of its descriptors that can be read, none where it waited long enough."""


def finished(work: Waiting[Result]) -> Result:
    """Take work to its end in this thread and return its result."""
    waits: Waits[None] = Waits()
    try:
        wait = next(work)
        while True:
            waits.add(None, wait)
            ((_, ready),) = waits.over(block=True)
            wait = work.send(ready)
    except StopIteration as end:
        result: Result = end.value
        return result


class Waits(Generic[Key]):
    """What many wait for at once."""

    def __init__(self) -> None:
        self._poller = select.poll()
        self._key_of: dict[int, Key] = {}
        self._waits: dict[Key, tuple[Wait, float]] = {}
        self._over_now: list[Key] = []

    def add(self, key: Key, wait: Wait) -> None:
        """Wait for one more, under a key that is not waited for yet."""
        until = _NEVER if wait.most_ms is None else time.monotonic() + wait.most_ms / 1000
        self._waits[key] = wait, until
        if min(wait.descriptors, default=0) < 0:  # closed with all of a worker that broke: reading it says so
            self._over_now.append(key)
            return
        for fd in wait.descriptors:
            self._poller.register(fd, select.POLLIN)
            self._key_of[fd] = key

    def over(self, block: bool) -> list[tuple[Key, list[int]]]:
        """Take out those whose waiting is over, each with its descriptors that can be read.

        With `block` and something to wait for, returns when that is at least one.
        """
        ready: dict[Key, list[int]] = {key: list(self._waits[key][0].descriptors) for key in self._over_now}
        self._over_now.clear()
        soonest = min((until for _, until in self._waits.values()), default=_NEVER)
        while True:
            most_ms: float | None = None
            if ready or not block:
                most_ms = 0.0
            elif soonest < _NEVER:
                most_ms = max(0.0, 1000 * (soonest - time.monotonic()))
            for fd, _ in self._poller.poll(most_ms):
                ready.setdefault(self._key_of[fd], []).append(fd)
            if soonest <= time.monotonic():
                late = [key for key, (_, until) in self._waits.items() if until <= time.monotonic()]
                ready = {key: [] for key in late} | ready
            if ready or not block:
                break
        for key in ready:
            self._forget(key)
        return list(ready.items())

    def _forget(self, key: Key) -> None:
        wait, _ = self._waits.pop(key)
        for fd in wait.descriptors:
            if fd in self._key_of:
                del self._key_of[fd]
                self._poller.unregister(fd)
