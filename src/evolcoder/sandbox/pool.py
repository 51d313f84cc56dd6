"""The sandbox as the rest of the project sees it: jobs in, outcomes out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, LifoQueue, SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

from evolcoder.errors import SandboxError
from evolcoder.sandbox.container import Keeper
from evolcoder.sandbox.cores import CoreClaim
from evolcoder.sandbox.protection import Level, confinement_of
from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.worker import Steps, Worker

Tag = TypeVar("Tag")
ATTEMPTS = 3
"""How often a job is run before the machine's fault is reported in its verdict."""
_FIRST_UID = 1 << 20
_UIDS = 1 << 30


class Sandbox:
    """A pool of contained workers; a context manager.

    `level` asks for "full" or "userns" by name; without it the best there is. Raises SandboxError when the
    machine offers no protection, unless `unsafe`, which runs programs with limits but without containment:
    they can read, write and connect as you can.
    """

    def __init__(self, workers: int | None = None, unsafe: bool = False, level: Level | None = None) -> None:
        self.level, confinement = confinement_of(unsafe, level)
        self.workers = workers or len(os.sched_getaffinity(0))
        self._owner = os.getpid()
        self._keeper = Keeper()
        self._idle: LifoQueue[Worker] = LifoQueue()
        # Users of their own: the kernel counts processes by user, so that no program uses up another's share.
        uid = _FIRST_UID + int.from_bytes(os.urandom(4), "little") % _UIDS
        self._claims = [CoreClaim() for _ in range(self.workers)]
        self._all = [
            Worker(self._keeper, confinement, uid + i, claim.core) for i, claim in enumerate(self._claims)
        ]
        for worker in reversed(self._all):
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all containers; running jobs end with them."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._all:
            worker.close()
        for claim in self._claims:
            claim.close()
        self._keeper.close()

    def run(self, job: Job) -> Outcome:
        """Run one job and wait for its outcome; any number of threads may call this."""
        if self._closed.is_set() or os.getpid() != self._owner:
            raise SandboxError("the sandbox is closed, or belongs to another process")
        worker = self._idle.get()
        try:
            return self._settled(worker, job, worker.run(job))
        finally:
            self._idle.put(worker)

    def _settled(self, worker: Worker, job: Job, outcome: Outcome) -> Outcome:
        """Run a job again where the machine failed it."""
        for _ in range(ATTEMPTS - 1):
            if outcome.verdict.reason != "infrastructure":
                break
            outcome = worker.run(job)
        return outcome

    async def run_async(self, job: Job) -> Outcome:
        """Run one job without blocking the event loop."""
        return await asyncio.wrap_future(self._threads.submit(self.run, job))

    def run_many(
        self, jobs: Iterable[tuple[Tag, Job]], ahead: int | None = None
    ) -> Iterator[tuple[Tag, Outcome]]:
        """Run tagged jobs and yield outcomes as they come; at most `ahead` are taken and not yet yielded."""
        if self.workers == 1:
            yield from self._run_here(jobs)
            return
        window = max(ahead or 4 * self.workers, self.workers)
        asked: SimpleQueue[tuple[Tag, Job] | None] = SimpleQueue()
        told: SimpleQueue[tuple[Tag, Outcome] | BaseException] = SimpleQueue()
        # Threads of its own and two queues: futures would cost as much as the rest of this process's work.
        names = [f"sandbox {number}" for number in range(self.workers)]
        threads = [threading.Thread(target=self._serve, args=(asked, told), name=name) for name in names]
        for thread in threads:
            thread.start()
        running = 0
        try:
            for tagged in jobs:
                asked.put(tagged)
                running += 1
                while running >= window:
                    yield _result(told.get())
                    running -= 1
            while running:
                yield _result(told.get())
                running -= 1
        finally:
            with contextlib.suppress(Empty):
                while True:
                    asked.get_nowait()
            for _ in threads:
                asked.put(None)
            for thread in threads:
                thread.join()

    def _run_here(self, jobs: Iterable[tuple[Tag, Job]]) -> Iterator[tuple[Tag, Outcome]]:
        """Do what `run_many` does with one worker in the thread that asks, which saves waking others."""
        worker = self._idle.get()
        source = iter(jobs)
        before: _Running[Tag] | None = None
        try:
            tagged = next(source, None)
            while tagged is not None:
                now = _Running(*tagged, worker, worker.steps(tagged[1]))
                ended = [(now.tag, outcome)] if (outcome := self._step(now)) else []
                if before:
                    ended.append((before.tag, self._end(before)))
                before = None if outcome else now
                tagged = next(source, None)  # while the program runs
                yield from ended
                if before and (outcome := self._step(before)):
                    last, before = before, None
                    yield last.tag, outcome
            if before:
                last, before = before, None
                yield last.tag, self._end(last)
        finally:
            if before:
                self._end(before)
            self._idle.put(worker)

    def _serve(
        self,
        asked: SimpleQueue[tuple[Tag, Job] | None],
        told: SimpleQueue[tuple[Tag, Outcome] | BaseException],
    ) -> None:
        before: _Running[Tag] | None = None
        while True:
            if before and asked.empty():
                self._finish(before, told)
                self._idle.put(before.worker)
                before = None
            if (tagged := asked.get()) is None:
                break
            worker = before.worker if before else self._idle.get()
            now = self._advance(_Running(*tagged, worker, worker.steps(tagged[1])), told)
            if before:
                self._finish(before, told)
            before = self._advance(now, told) if now else None
            if not before:
                self._idle.put(worker)
        if before:
            self._finish(before, told)
            self._idle.put(before.worker)

    def _advance(
        self, running: _Running[Tag], told: SimpleQueue[tuple[Tag, Outcome] | BaseException]
    ) -> _Running[Tag] | None:
        """Take a job one step on; tells its outcome and returns None where that was its last."""
        try:
            outcome = self._step(running)
        except BaseException as error:
            told.put(error)
            return None
        if outcome is None:
            return running
        told.put((running.tag, outcome))
        return None

    def _finish(self, running: _Running[Tag], told: SimpleQueue[tuple[Tag, Outcome] | BaseException]) -> None:
        """Take a job to its end, and tell its outcome."""
        while self._advance(running, told):
            pass

    def _step(self, running: _Running[Tag]) -> Outcome | None:
        """Take a job one step on; return its outcome where that was its last."""
        try:
            next(running.steps)
        except StopIteration as end:
            return self._settled(running.worker, running.job, end.value)
        return None

    def _end(self, running: _Running[Tag]) -> Outcome:
        """Take a job to its end."""
        while (outcome := self._step(running)) is None:
            pass
        return outcome


@dataclass(frozen=True, slots=True)
class _Running(Generic[Tag]):
    """A job in a worker that is not over."""

    tag: Tag
    job: Job
    worker: Worker
    steps: Steps


def _result(told: tuple[Tag, Outcome] | BaseException) -> tuple[Tag, Outcome]:
    if isinstance(told, BaseException):
        raise told
    return told
