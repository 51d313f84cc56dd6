"""Many jobs on several workers from one thread: each worker is a lane, and the thread goes where news is.

A thread a worker costs more: what it does between two waits is so short that handing over the interpreter
takes longer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.waiting import Waiting, Waits
from evolcoder.sandbox.worker import Steps, Worker, to_end, to_mark

Tag = TypeVar("Tag")
ATTEMPTS = 3
"""How often a job is run before the machine's fault is reported in its verdict."""
_MOMENT_S = 0.2
_LOOK_EVERY_S = 0.01


def outcome_of(job: Job, worker: Worker) -> Waiting[Outcome]:
    """Run one job to its end, and again where the machine failed it."""
    return (yield from _settled(job, worker, (yield from to_end(worker.steps(job)))))


def _settled(job: Job, worker: Worker, outcome: Outcome) -> Waiting[Outcome]:
    for _ in range(ATTEMPTS - 1):
        if outcome.verdict.reason != "infrastructure":
            break
        outcome = yield from to_end(worker.steps(job))
    return outcome


@dataclass(slots=True)
class Lanes(Generic[Tag]):
    """Runs tagged jobs on workers that it borrows.

    While the reader of the outcomes, or the source of the jobs, keeps the thread for long, another one looks
    after what runs: a program whose output nobody reads would wait, and run out of its time.
    """

    borrow: Callable[[bool], Worker | None]
    """Return an idle worker, None where there is none; True: wait for one."""
    give_back: Callable[[Worker], None]
    most: int
    """Workers at once."""
    _waiting: deque[tuple[Tag, Job]] = field(default_factory=deque)
    """Jobs that no worker has begun."""
    _told: deque[tuple[Tag, Outcome]] = field(default_factory=deque)
    _lanes: dict[Worker, Waiting[None]] = field(default_factory=dict)
    _waits: Waits[Worker] = field(default_factory=Waits)
    _failure: Exception | None = None
    _in_hand: int = 0
    """Jobs taken and not yet yielded."""
    _mine: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that may touch all this."""
    _away_since: float | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _caretaker: threading.Thread | None = None

    def outcomes(self, jobs: Iterable[tuple[Tag, Job]], ahead: int) -> Iterator[tuple[Tag, Outcome]]:
        """Yield outcomes as they come; at most `ahead` jobs are taken and not yet yielded."""
        source = iter(jobs)
        is_at_hand = isinstance(jobs, (list, tuple))
        exhausted = False
        self._mine.acquire()
        try:
            while self._in_hand or not exhausted:
                takes = not exhausted and self._in_hand < ahead and len(self._waiting) < self.most
                if takes:
                    tagged = next(source, None) if is_at_hand else self._next_of(source)
                    exhausted = tagged is None
                    if tagged is not None:
                        self._waiting.append(tagged)
                        self._in_hand += 1
                        self._open_lanes()
                self._go_on(block=not takes and not self._told)
                if self._failure is not None:
                    raise self._failure
                if self._told:
                    self._in_hand -= 1
                    told = self._told.popleft()
                    self._leave()
                    try:
                        yield told
                    finally:
                        self._return()
        except (Exception, GeneratorExit):
            self._waiting.clear()
            while self._lanes:
                self._go_on(block=True)
            raise
        finally:
            self._over.set()
            if self._caretaker is not None:
                self._caretaker.join()
            for worker, lane in self._lanes.items():  # Ctrl-C: what still runs is ended, not waited for
                lane.close()
                self.give_back(worker)

    def _next_of(self, source: Iterator[tuple[Tag, Job]]) -> tuple[Tag, Job] | None:
        self._leave()
        try:
            return next(source, None)
        finally:
            self._return()

    def _leave(self) -> None:
        if self._in_hand and self._caretaker is None:
            self._caretaker = threading.Thread(target=self._look_after, name="sandbox", daemon=True)
            self._caretaker.start()
        self._away_since = time.monotonic()
        self._mine.release()

    def _return(self) -> None:
        self._mine.acquire()
        self._away_since = None

    def _look_after(self) -> None:
        """Advance what runs while the other thread is away for longer than a moment."""
        pause_s = _MOMENT_S
        while not self._over.wait(pause_s):
            since = self._away_since
            is_away = since is not None and time.monotonic() - since > _MOMENT_S
            pause_s = _LOOK_EVERY_S if is_away else _MOMENT_S
            if is_away and self._mine.acquire(blocking=False):
                try:
                    if self._away_since is not None:
                        self._go_on(block=False)
                finally:
                    self._mine.release()

    def _open_lanes(self) -> None:
        while self._waiting and len(self._lanes) < self.most:
            worker = self.borrow(not self._lanes)
            if worker is None:
                return
            self._lanes[worker] = self._lane(worker)
            self._advance(worker)

    def _go_on(self, block: bool) -> None:
        """Advance the lanes that have news; with `block`, wait until one has. Keeps the first failure."""
        for worker, ready in self._waits.over(block):
            try:
                self._advance(worker, ready)
            except Exception as error:
                self._failure = self._failure or error

    def _advance(self, worker: Worker, ready: list[int] | None = None) -> None:
        lane = self._lanes[worker]
        try:
            wait = next(lane) if ready is None else lane.send(ready)
        except BaseException as error:
            del self._lanes[worker]
            self.give_back(worker)
            if not isinstance(error, StopIteration):
                raise
        else:
            self._waits.add(worker, wait)

    def _lane(self, worker: Worker) -> Waiting[None]:
        """Run jobs one after another, each begun while the process of the one before comes to its end."""
        before: _Running[Tag] | None = None
        while before or self._waiting:
            if not self._waiting:
                if before:
                    yield from self._end(before)
                before = None
                continue
            tag, job = self._waiting.popleft()
            now = _Running(tag, job, worker, worker.steps(job))
            is_over = yield from self._step(now)
            if before:
                yield from self._end(before)
            before = None if is_over or (yield from self._step(now)) else now

    def _end(self, running: _Running[Tag]) -> Waiting[None]:
        while not (yield from self._step(running)):
            pass

    def _step(self, running: _Running[Tag]) -> Waiting[bool]:
        """Take a job to its next mark; tell its outcome and return True where it ends before."""
        outcome = yield from to_mark(running.steps)
        if outcome is None:
            return False
        outcome = yield from _settled(running.job, running.worker, outcome)
        self._told.append((running.tag, outcome))
        return True


@dataclass(frozen=True, slots=True)
class _Running(Generic[Tag]):
    """A job in a worker that is not over."""

    tag: Tag
    job: Job
    worker: Worker
    steps: Steps
