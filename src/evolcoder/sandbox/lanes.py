"""Many jobs on several workers from one thread: each worker is a lane, and the thread goes where news is.

A thread a worker costs more: what it does between two waits is so short that handing over the interpreter
takes longer.
"""

from __future__ import annotations

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
    """Runs tagged jobs on workers that it borrows."""

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

    def outcomes(self, jobs: Iterable[tuple[Tag, Job]], ahead: int) -> Iterator[tuple[Tag, Outcome]]:
        """Yield outcomes as they come; at most `ahead` jobs are taken and not yet yielded."""
        source = iter(jobs)
        exhausted = False
        in_hand = 0
        try:
            while in_hand or not exhausted:
                takes = not exhausted and in_hand < ahead and len(self._waiting) < self.most
                if takes and (tagged := next(source, None)) is not None:
                    self._waiting.append(tagged)
                    in_hand += 1
                    self._open_lanes()
                elif takes:
                    exhausted = True
                self._go_on(block=not takes and not self._told)
                if self._told:
                    in_hand -= 1
                    yield self._told.popleft()
        except (Exception, GeneratorExit):
            self._waiting.clear()
            while self._lanes:
                self._go_on(block=True)
            raise
        finally:
            for worker, lane in self._lanes.items():  # Ctrl-C: what still runs is ended, not waited for
                lane.close()
                self.give_back(worker)

    def _open_lanes(self) -> None:
        while self._waiting and len(self._lanes) < self.most:
            worker = self.borrow(not self._lanes)
            if worker is None:
                return
            self._lanes[worker] = self._lane(worker)
            self._advance(worker)

    def _go_on(self, block: bool) -> None:
        """Advance the lanes that have news; with `block`, wait until one has."""
        failure: Exception | None = None
        for worker, ready in self._waits.over(block):
            try:
                self._advance(worker, ready)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

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
