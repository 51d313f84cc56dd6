"""One kind of work on the workers of a Ray cluster: a thread that keeps them fed and takes in what is ready.

Each worker is kept about a second of work ahead, by its rate. Every item stays here until
its result has arrived. What a lost worker had not reported is worked on elsewhere, apart from others, so that
an item that kills its worker shows itself: the third time it is set aside, with the reason. When nothing is
left to hand out, idle workers get what busy ones have not begun.
"""

from __future__ import annotations

import math
import pickle
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Generic

from evolcoder.errors import EvolcoderError, OutsideError
from evolcoder.execution.engine import Item, Place, Result, Tag, Work, in_order
from evolcoder.execution.ray.host import WorkerReply
from evolcoder.execution.ray.worker_state import (
    HostHandle,
    PendingItem,
    TaskWaiter,
    ThreadWaiter,
    Waiter,
    WorkerState,
)

LOSSES_ALLOWED = 3
"""An item whose worker died this often is set aside."""
_ANSWERS_A_SECOND = 200
"""Of all workers together: a tenth of a core of the driver. With more workers each answers less often."""
_ANSWER_WITHIN_S = 0.5
"""As often as a busy worker answers at most: an answer costs both sides about 2 ms of CPU. What a lost worker
had finished since is worked on again."""
_SOURCE_S = 0.05
"""A slow source of items is waited for this long before what it gave is handed on."""
_MOST_BYTES_AHEAD = 8 << 20
"""Of the items a worker holds, pickled."""
_MOST_BYTES_IN_FLIGHT = 256 << 20
"""Of all workers' items together, which the driver holds until their results are there."""
_CHUNK_BYTES = 64 << 10
"""Larger arguments would pass through Ray's object store, whose pages then count as the driver's."""
_CALLS_AT_ONCE = 2
_READY_WITHIN_S = 600.0
"""A cluster that grows on demand may need minutes for its first machine."""


class RayPool(Generic[Item, Result]):
    """Implements `Pool`; made by `RayEngine.open`."""

    def __init__(
        self,
        hosts: Callable[[Place, int | None], Sequence[HostHandle]],
        lost: Callable[[HostHandle], None],
        ray: Any,
        work: Work[Item, Result],
        workers: int | None,
        key: str,
    ) -> None:
        """`hosts` returns the cluster's workers of a place, at most so many; `lost` has one replaced."""
        self._hosts, self._lost_host = hosts, lost
        self._ray, self._work, self._most, self._key = ray, work, workers, key
        self._work_ref = ray.put(ray.cloudpickle.dumps(work))
        self._states: dict[int, WorkerState] = {}
        self._refused: set[int] = set()
        self._inbox: deque[PendingItem] = deque()
        self._suspects: deque[list[PendingItem]] = deque()
        self._numbers = 0
        self._bytes_an_item = 1024.0
        self._losses_in_a_row = 0
        self._labels: dict[str, None] = {}
        self._events: queue.SimpleQueue[tuple[WorkerState, Any] | None] = queue.SimpleQueue()
        self._waiters: set[Waiter] = set()
        self._lock = threading.Lock()
        self._hungry = True
        self._closed = False
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._window = 8
        self._thread = threading.Thread(target=self._run, name="ray-pool", daemon=True)
        self._thread.start()

    # -- what stages see ----------------------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """Workers that are ready or getting ready."""
        return max(1, len(self._states))

    @property
    def label(self) -> str:
        """The labels of all workers so far."""
        return ", ".join(sorted(self._labels))

    def wait_until_ready(self) -> None:
        """Return when a worker is ready; raises what kept all of them from it."""
        if not self._ready.wait(_READY_WITHIN_S):
            raise OutsideError(
                f"the Ray cluster granted no worker within {_READY_WITHIN_S:.0f} s: it is busy"
            )
        if self._failure is not None:
            raise self._failure

    def run_many(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Result]]:
        """Yield results as they come; about a second of work is in flight."""
        source = iter(tagged)
        waiter = ThreadWaiter()
        exhausted = False
        in_flight = 0
        try:
            while True:
                if not exhausted and in_flight <= self._window // 2:
                    taken, exhausted = self._submit_some(source, waiter, self._window - in_flight)
                    in_flight += taken
                if not in_flight:
                    return
                for result in waiter.take():
                    in_flight -= 1
                    yield result
        finally:
            self._leave(waiter)

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield results in the order of the items."""
        return in_order(self, items, lambda: 8 * self._window)

    async def one(self, item: Item) -> Result:
        """Work on one item."""
        waiter = TaskWaiter()
        try:
            self._submit([(None, item)], waiter)
            result: Result = await waiter.reply
            return result
        finally:
            self._leave(waiter)

    def close(self) -> None:
        """Let the workers go; what is in flight is dropped."""
        self._closed = True
        self._events.put(None)
        self._thread.join()
        self._fail(OutsideError("the pool of workers is closed"))
        for state in self._states.values():
            with suppress(Exception):
                state.host.actor.close_work.remote(self._key)

    def _leave(self, waiter: Waiter) -> None:
        waiter.closed = True
        with self._lock:
            self._waiters.discard(waiter)

    def _submit_some(self, source: Iterator[tuple[Any, Any]], waiter: Waiter, most: int) -> tuple[int, bool]:
        """Hand over up to `most` items; return how many, and whether the source has ended."""
        batch: list[tuple[Any, Any]] = []
        begun = time.monotonic()
        while len(batch) < max(1, most):
            pair = next(source, None)
            if pair is None:
                self._submit(batch, waiter)
                return len(batch), True
            batch.append(pair)
            if time.monotonic() - begun > _SOURCE_S:
                break
        self._submit(batch, waiter)
        return len(batch), False

    def _submit(self, batch: list[tuple[Any, Any]], waiter: Waiter) -> None:
        with self._lock:
            if self._failure is not None or self._closed:
                raise self._failure or OutsideError("the pool of workers is closed")
            self._waiters.add(waiter)
            for tag, item in batch:
                self._inbox.append(PendingItem(self._numbers, tag, item, waiter))
                self._numbers += 1
            wake, self._hungry = self._hungry, False
        if wake:
            self._events.put(None)

    # -- the thread that feeds ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            looked_at = 0.0
            while not self._closed:
                if time.monotonic() - looked_at > 1.0:
                    self._take_workers()
                    looked_at = time.monotonic()
                self._hear()
                self._feed_all()
        except BaseException as error:  # it is raised again where results are waited for
            self._fail(error)

    def _take_workers(self) -> None:
        """Open the work on workers that have joined."""
        for host in self._hosts(self._work.place, self._most):
            if host.number not in self._states and host.number not in self._refused:
                state = self._states[host.number] = WorkerState(host)
                self._call(state, [], work=self._work_ref)

    def _hear(self) -> None:
        """Wait for an event, and take in all that are there."""
        with suppress(queue.Empty):
            event = self._events.get(timeout=0.5)
            while True:
                if event is not None:
                    self._take_in(*event)
                event = self._events.get_nowait()

    def _take_in(self, state: WorkerState, future: Any) -> None:
        if self._states.get(state.host.number) is not state:
            return  # it was given up; whatever it says, its items are elsewhere
        state.calls -= 1
        try:
            reply: WorkerReply = pickle.loads(future.result())
        except EvolcoderError:
            raise
        except self._ray.exceptions.RayTaskError as error:
            raise OutsideError(f"a worker of the Ray cluster failed: {_last_line(error)}") from error
        except self._ray.exceptions.RayError as error:
            self._lose(state, error)
            return
        if reply.error is not None and not reply.opened:
            self._refuse(state, reply.error)
            return
        if reply.opened and not state.ready:
            state.ready = True
            self._labels[reply.label] = None
            self._ready.set()
        self._deliver(state, reply)
        if reply.error is not None:
            raise reply.error

    def _deliver(self, state: WorkerState, reply: WorkerReply) -> None:
        delivered: dict[Waiter, list[tuple[Any, Any]]] = {}
        for number, result in reply.results:
            entry = state.sent.pop(number, None)
            if entry is not None and not entry.waiter.closed:
                delivered.setdefault(entry.waiter, []).append((entry.tag, result))
        for waiter, results in delivered.items():
            waiter.deliver(results)
        if reply.results:
            self._losses_in_a_row = 0
        if reply.given_back:
            returned = [state.sent.pop(number) for number in reply.given_back if number in state.sent]
            with self._lock:
                self._inbox.extendleft(reversed(returned))
        # How fast a worker is tells how many items keep it busy.
        allowed = min(_MOST_BYTES_AHEAD, _MOST_BYTES_IN_FLIGHT / 2 / len(self._states))
        state.learn(len(reply.results), self._interval(), int(allowed / self._bytes_an_item))
        self._window = max(8, 2 * sum(s.ahead for s in self._states.values() if s.ready))

    def _interval(self) -> float:
        return max(_ANSWER_WITHIN_S, len(self._states) / _ANSWERS_A_SECOND)

    def _feed_all(self) -> None:
        ready = [state for state in self._states.values() if state.ready]
        # While items are under suspicion, some workers finish what they have and then take only those.
        n_apart = min(len(self._suspects), max(1, len(ready) // 4)) if self._suspects else 0
        for position, state in enumerate(ready):
            self._feed(state, len(ready), only_suspects=position < n_apart)
        for state in self._states.values():
            if not state.ready and not state.calls:  # it takes long to get ready: a model's weights
                self._call(state, [])
        with self._lock:
            self._hungry = not self._inbox
        if not self._inbox and not self._suspects:
            self._share_the_rest(ready)

    def _feed(self, state: WorkerState, n_workers: int, only_suspects: bool) -> None:
        if not state.sent:
            state.apart = False
        if not state.apart and state.calls < _CALLS_AT_ONCE:
            if self._suspects and not state.sent:
                group = [entry for entry in self._suspects.popleft() if not entry.waiter.closed]
                if group:
                    state.apart = True
                    self._send(state, group)
            elif not only_suspects:
                room = state.ahead - len(state.sent)
                if room > 0 and (not state.sent or room >= state.ahead // 2):
                    self._send(state, self._take(room, n_workers))
        if state.sent and not state.calls:
            self._call(state, [])

    def _take(self, room: int, n_workers: int) -> list[PendingItem]:
        """Take items from the inbox: not more than a fair share where few are left."""
        with self._lock:
            count = min(room, max(1, math.ceil(len(self._inbox) / n_workers)))
            taken = [self._inbox.popleft() for _ in range(min(count, len(self._inbox)))]
        return [entry for entry in taken if not entry.waiter.closed]

    def _share_the_rest(self, ready: list[WorkerState]) -> None:
        """Ask the worker with the most items for those it has not begun, if another one is idle."""
        if all(state.sent for state in ready) or not ready:
            return
        fullest = max(ready, key=lambda state: len(state.sent))
        waits_s = time.monotonic() - fullest.heard_at
        if len(fullest.sent) > 1 and not fullest.asked_back and not fullest.apart and waits_s > 0.05:
            fullest.asked_back = True
            self._call(fullest, [], give_back=True)

    def _send(self, state: WorkerState, pending: list[PendingItem]) -> None:
        if pending:
            if not state.sent:
                state.begins()
            state.sent |= {entry.number: entry for entry in pending}
            self._call(state, pending)

    def _call(
        self, state: WorkerState, pending: list[PendingItem], work: Any = None, give_back: bool = False
    ) -> None:
        batch = pickle.dumps([(t.number, t.item) for t in pending], 5) if pending else b""
        if pending:
            self._bytes_an_item += 0.2 * (len(batch) / len(pending) - self._bytes_an_item)
        # Among suspects each result is reported at once: the next item may be the one that kills.
        # Others tell what they have in time for more: the driver sends when half of what is ahead is done.
        low, within_s = (1 << 30, 0.0) if state.apart else (state.ahead // 4, self._interval())
        chunks = [batch[start : start + _CHUNK_BYTES] for start in range(0, len(batch), _CHUNK_BYTES)]
        reply = state.host.actor.exchange.remote(self._key, work, low, within_s, give_back, *chunks)
        state.calls += 1
        reply.future().add_done_callback(lambda future: self._events.put((state, future)))

    # -- what fails ---------------------------------------------------------------------------------------

    def _lose(self, state: WorkerState, error: BaseException) -> None:
        """Have a lost worker's unreported items worked on elsewhere."""
        del self._states[state.host.number]
        if "creation task" in str(error):
            told = "evolcoder must be installed on every machine of the cluster, in the same version"
            raise OutsideError(f"a worker cannot start ({_last_line(error)}): {told}")
        self._lost_host(state.host)
        self._losses_in_a_row += 1
        if self._losses_in_a_row > 10 + LOSSES_ALLOWED * (len(self._states) + len(state.sent)):
            told = "workers of the Ray cluster die before they finish anything"
            raise OutsideError(f"{told}: {_reason(error)}")
        unreported = list(state.sent.values())
        for entry in unreported:
            entry.losses += 1
        suspects = [entry for entry in unreported if entry.losses < LOSSES_ALLOWED]
        # Groups first: most were only near. Whoever was on two lost workers goes alone.
        size = math.isqrt(len(suspects)) or 1
        if any(entry.losses > 1 for entry in suspects):
            size = 1
        self._suspects += [suspects[i : i + size] for i in range(0, len(suspects), size)]
        for entry in unreported:
            if entry.losses >= LOSSES_ALLOWED and not entry.waiter.closed:
                reason = f"its worker died {entry.losses} times: {_reason(error)}"
                entry.waiter.deliver([(entry.tag, self._work.set_aside(entry.item, reason))])
        self._take_workers()

    def _refuse(self, state: WorkerState, error: BaseException) -> None:
        """Go on without a worker whose work did not open; raises its error where no other is there."""
        del self._states[state.host.number]
        self._refused.add(state.host.number)
        if not self._states:
            raise error

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error
            waiters = list(self._waiters)
        for waiter in waiters:
            waiter.fail(error)
        self._ready.set()


def _reason(error: BaseException) -> str:
    """Return what Ray says of a loss, without its advice."""
    text = " ".join(str(error).split())
    found = re.search(
        r"Worker exit type: .*?\. Worker exit detail: [^.]*|The actor is temporarily.*?\.", text
    )
    return (found[0] if found else text)[:200]


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
