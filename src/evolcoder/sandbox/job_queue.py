"""Many jobs on several workers from one thread, which serves whichever worker has something to read.

A thread a worker costs more: what it does between two waits is so short that handing over the interpreter
takes longer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.waiting import Waiting, Waits
from evolcoder.sandbox.worker import SandboxWorker, Steps, to_end, to_mark

Tag = TypeVar("Tag")
ATTEMPTS = 3
"""How often a job is run before the machine's fault is reported in its verdict."""
_PATIENCE = 4
"""Each further attempt has this much more wall time."""
_MOMENT_S = 0.02
_LOOK_EVERY_S = 0.01


def outcome_of(job: Job, worker: SandboxWorker) -> Waiting[Outcome]:
    """Run one job to its end, and again where the machine failed it."""
    return (yield from _settled(job, worker, (yield from to_end(worker.steps(job)))))


def _settled(job: Job, worker: SandboxWorker, outcome: Outcome) -> Waiting[Outcome]:
    for attempt in range(1, ATTEMPTS):
        if outcome.verdict.reason != "infrastructure":
            break
        # Programs that got no processor get longer: what is said of one must not hang on what else runs.
        patient = replace(job, limits=job.limits.more_wall(_PATIENCE**attempt))
        outcome = yield from to_end(worker.steps(patient))
    return outcome


class JobQueue(Generic[Tag]):
    """Runs tagged jobs on workers that it borrows.

    While the reader of the outcomes, or the source of the jobs, keeps the thread for long, another one looks
    after what runs: a program whose output nobody reads would wait, and run out of its time.
    """

    def __init__(
        self,
        borrow: Callable[[bool], SandboxWorker | None],
        give_back: Callable[[SandboxWorker], None],
        most: int,
    ) -> None:
        """`borrow` returns an idle worker, or None where there is none and it is not told to wait for one.

        `most` is how many workers are borrowed at once.
        """
        self._borrow, self._give_back, self._most = borrow, give_back, most
        self._waiting: deque[tuple[Tag, Job]] = deque()  # no worker has begun them
        self._told: deque[tuple[Tag, Outcome]] = deque()
        self._working: dict[SandboxWorker, Waiting[None]] = {}  # borrowed workers, each with its jobs
        self._waits: Waits[SandboxWorker] = Waits()
        self._failure: Exception | None = None
        self._in_hand = 0  # jobs taken and not yet yielded
        self._mine = threading.Lock()  # held by the thread that may touch all this
        self._away_since: float | None = None
        self._over = threading.Event()
        self._caretaker: threading.Thread | None = None

    def outcomes(self, jobs: Iterable[tuple[Tag, Job]], ahead: int) -> Iterator[tuple[Tag, Outcome]]:
        """Yield outcomes as they come; at most `ahead` jobs are taken and not yet yielded."""
        source = iter(jobs)
        is_at_hand = isinstance(jobs, (list, tuple))  # then taking one needs nobody to look after the others
        exhausted = False
        self._mine.acquire()
        try:
            while self._in_hand or not exhausted:
                takes = not exhausted and self._in_hand < ahead and len(self._waiting) < self._most
                if takes:
                    tagged = next(source, None) if is_at_hand else self._next_of(source)
                    exhausted = tagged is None
                    if tagged is not None:
                        self._waiting.append(tagged)
                        self._in_hand += 1
                        self._start_workers()
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
            while self._working:
                self._go_on(block=True)
            raise
        finally:
            self._over.set()
            if self._caretaker is not None:
                self._caretaker.join()
            for worker in list(self._working):  # Ctrl-C: what runs then is ended, not waited for
                self._close(worker)

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

    def _start_workers(self) -> None:
        while self._waiting and len(self._working) < self._most:
            worker = self._borrow(not self._working)
            if worker is None:
                return
            self._working[worker] = self._jobs_of(worker)
            self._advance(worker)

    def _go_on(self, block: bool) -> None:
        """Advance the workers that can go on; with `block`, wait until one can."""
        for worker, ready in self._waits.over(block and bool(self._working)):
            self._advance(worker, ready)

    def _close(self, worker: SandboxWorker) -> None:
        self._working.pop(worker).close()
        self._give_back(worker)

    def _advance(self, worker: SandboxWorker, ready: list[int] | None = None) -> None:
        """Take a worker to what it waits for next; the first failure is kept for who asks for outcomes."""
        jobs = self._working[worker]
        try:
            self._waits.add(worker, next(jobs) if ready is None else jobs.send(ready))
        except BaseException as error:
            self._close(worker)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, StopIteration):
                self._failure = self._failure or error

    def _jobs_of(self, worker: SandboxWorker) -> Waiting[None]:
        """Run jobs one after another, each begun while the process of the one before comes to its end."""
        before: Steps[bool] | None = None
        while before or self._waiting:
            now = self._one_job(worker) if self._waiting else None
            is_over = now is None or (yield from to_mark(now))
            if before:
                yield from to_end(before)
            before = None if now is None or is_over or (yield from to_mark(now)) else now

    def _one_job(self, worker: SandboxWorker) -> Steps[bool]:
        """Run the job that waits longest and tell its outcome, in steps; returns True."""
        tag, job = self._waiting.popleft()
        outcome = yield from worker.steps(job)
        self._told.append((tag, (yield from _settled(job, worker, outcome))))
        return True
