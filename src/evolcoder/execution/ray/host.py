"""The worker's side of the Ray engine: a process of one core that works on the items it is sent.

It imports no Ray: the driver makes an actor of `Host`. Items arrive many at a time and wait in a queue, so
that the worker never waits for the driver; results go back as answers to `exchange`, soon after they are
ready. Everything a host holds the driver holds too, until its result has arrived.
"""

from __future__ import annotations

import pickle
import platform
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evolcoder import __version__
from evolcoder.errors import OutsideError

_KEEPALIVE_S = 5.0
"""An exchange answers at least this often, with nothing if need be."""


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """What an exchange answers."""

    results: list[tuple[int, Any]]
    """By the item's number, in the order they were ready."""
    given_back: list[int]
    """Items that were not begun, as asked."""
    label: str = ""
    error: BaseException | None = None
    """What the work raised; no item is worked on after it."""
    opened: bool = False
    """Whether the worker is ready for items."""


class Host:
    """A process that holds one worker for each work it was sent."""

    def __init__(self, versions: tuple[str, str]) -> None:
        """`versions` are the driver's; verdicts of other versions would be kept under the wrong name."""
        self._wanted = versions
        self._work_queues: dict[str, _WorkQueue] = {}
        self._lock = threading.Lock()

    def exchange(
        self, key: str, work: bytes | None, low: int, wait_s: float, give_back: bool, *batch: bytes
    ) -> bytes:
        """Take a batch of (number, item), return what is ready; both pickled, the batch in pieces.

        `work` comes with the first exchange of a `key`. Answers when `wait_s` is over and something is ready,
        when at most `low` items are left to begin and as many are ready as are left, or when nothing is left.
        """
        if self._wanted != versions():
            told = "this machine has evolcoder {} on Python {}, a worker {} on {}: the same are needed"
            return _pickled(WorkerReply([], [], error=OutsideError(told.format(*self._wanted, *versions()))))
        with self._lock:
            if key not in self._work_queues:
                assert work is not None, "the first exchange brings the work"
                self._work_queues[key] = _WorkQueue(pickle.loads(work))
            work_queue = self._work_queues[key]
        items = pickle.loads(b"".join(batch)) if batch else []
        return _pickled(work_queue.exchange(items, low, wait_s, give_back))

    def close_work(self, key: str) -> None:
        """Let go of a work's worker."""
        with self._lock:
            work_queue = self._work_queues.pop(key, None)
        if work_queue is not None:
            work_queue.close()


class _WorkQueue:
    """One worker, its queue, and the thread that works."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._queue: deque[tuple[int, Any]] = deque()
        self._ready: list[tuple[int, Any]] = []
        self._busy = 0
        self._low = 0
        self._label = ""
        self._error: BaseException | None = None
        self._opened = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="work", daemon=True)
        self._thread.start()

    def exchange(self, items: list[tuple[int, Any]], low: int, wait_s: float, give_back: bool) -> WorkerReply:
        begun = time.monotonic()
        with self._changed:
            self._queue.extend(items)
            self._low = low
            self._changed.notify_all()
            while not self._has_to_answer(time.monotonic() - begun, wait_s) and not give_back:
                left = begun + wait_s - time.monotonic()
                self._changed.wait(left if left > 0 else _KEEPALIVE_S)
            returned = []
            if give_back:
                returned = [number for number, _ in self._queue]
                self._queue.clear()
            results, self._ready = self._ready, []
            return WorkerReply(results, returned, self._label, self._error, self._opened)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join(timeout=30)

    def _has_to_answer(self, waited_s: float, wait_s: float) -> bool:
        if self._error is not None or self._closed or waited_s > wait_s + _KEEPALIVE_S:
            return True
        if not self._opened:
            return False
        return self._runs_low() or (bool(self._ready) and waited_s >= wait_s)

    def _runs_low(self) -> bool:
        # The second condition halves what is left with each answer: the last items are not told one by one.
        return len(self._queue) <= self._low and len(self._ready) >= len(self._queue) + self._busy

    def _run(self) -> None:
        worker = None
        try:
            worker = self._work.open(1)
            with self._changed:
                self._label, self._opened = self._work.label(worker), True
                self._changed.notify_all()
            while self._wait_for_items():
                for number, result in worker.run_many(self._items()):
                    self._put(number, result)
        except BaseException as error:  # it is raised again on the driver
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            if worker is not None:
                worker.close()

    def _wait_for_items(self) -> bool:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            return not self._closed

    def _items(self) -> Iterator[tuple[int, Any]]:
        """Yield what waits and end when nothing does: who iterates must not be kept from its results."""
        while True:
            with self._changed:
                if not self._queue:
                    return
                pair = self._queue.popleft()
                self._busy += 1
            yield pair

    def _put(self, number: int, result: Any) -> None:
        with self._changed:
            self._ready.append((number, result))
            self._busy -= 1
            # Waking up who waits costs more than a small item does, so only where it may answer now.
            if len(self._ready) == 1 or self._runs_low():
                self._changed.notify_all()


def versions() -> tuple[str, str]:
    """Return what a driver and its workers must share: the versions of evolcoder and of Python."""
    return __version__, platform.python_version()


def _pickled(reply: WorkerReply) -> bytes:
    try:
        return pickle.dumps(reply, 5)
    except Exception as error:
        told = RuntimeError(f"a result or an error of a worker cannot travel: {error!r}; {reply.error!r}")
        return pickle.dumps(WorkerReply([], [], reply.label, told, reply.opened), 5)
