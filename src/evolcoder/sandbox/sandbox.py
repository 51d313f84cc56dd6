"""The sandbox as the rest of the project sees it: jobs in, outcomes out."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Self, TypeVar

from evolcoder.errors import SandboxError
from evolcoder.sandbox.container import container_starter
from evolcoder.sandbox.job_queue import JobQueue, outcome_of
from evolcoder.sandbox.protection import Level, confinement_of
from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.waiting import finished
from evolcoder.sandbox.worker import SandboxWorker

Tag = TypeVar("Tag")
_FIRST_UID = 1 << 20
_UIDS = 1 << 30


class Sandbox:
    """A pool of contained workers; a context manager.

    `level` asks for "full" or "userns" by name; without it the best there is. Raises SandboxError when the
    machine offers no protection, unless `unsafe`, which runs programs with limits but without containment:
    they can read, write and connect as you can.
    """

    def __init__(self, workers: int | None = None, unsafe: bool = False, level: Level | None = None) -> None:
        self.level = confinement_of(unsafe, level)
        self.workers = workers or len(os.sched_getaffinity(0))
        self._owner = os.getpid()
        self._starter = container_starter()
        self._idle: LifoQueue[SandboxWorker] = LifoQueue()
        # Users of their own: the kernel counts processes by user, so that no program uses up another's share.
        uid = _FIRST_UID + int.from_bytes(os.urandom(4), "little") % _UIDS
        self._claims = [CoreClaim() for _ in range(self.workers)]
        self._all = [
            SandboxWorker(self._starter, self.level, uid + i, claim.core)
            for i, claim in enumerate(self._claims)
        ]
        for worker in reversed(self._all):
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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
        self._starter.shutdown()

    def run(self, job: Job) -> Outcome:
        """Run one job and wait for its outcome; any number of threads may call this."""
        self._check_open()
        worker = self._idle.get()
        try:
            return finished(outcome_of(job, worker))
        finally:
            self._idle.put(worker)

    async def run_async(self, job: Job) -> Outcome:
        """Run one job without blocking the event loop."""
        return await asyncio.wrap_future(self._threads.submit(self.run, job))

    def run_many(
        self, jobs: Iterable[tuple[Tag, Job]], ahead: int | None = None
    ) -> Iterator[tuple[Tag, Outcome]]:
        """Run tagged jobs and yield outcomes as they come; at most `ahead` are taken and not yet yielded.

        The thread that asks for outcomes serves all workers. Between two they may all be taken: another job
        that is begun there waits until those taken are over.
        """
        self._check_open()
        queue: JobQueue[Tag] = JobQueue(self._borrowed, self._idle.put, self.workers)
        yield from queue.outcomes(jobs, max(ahead or 4 * self.workers, self.workers))

    def _borrowed(self, wait: bool) -> SandboxWorker | None:
        try:
            return self._idle.get(block=wait)
        except Empty:
            return None

    def _check_open(self) -> None:
        if self._closed.is_set() or os.getpid() != self._owner:
            raise SandboxError("the sandbox is closed, or belongs to another process")


_ROUNDS = 64
"""How many workers may share a core before further ones are left to the kernel."""


class CoreClaim:
    """The core that a worker's fork server stays on, held until `close` or this process ends; None for none.

    A server, its test process and the program speak in turn. Left to the kernel they wander, and each message
    wakes a core that slept and finds cold caches: on two cores that costs a sixth of the throughput. Workers
    of other processes (Ray's, a second run) count too. The claim is a socket's name in the kernel's abstract
    namespace: bound by one process at a time, and free again however that process ends.
    """

    def __init__(self, names: str = "evolcoder-core") -> None:
        self.core: int | None = None
        self._name: socket.socket | None = None
        cores = _whole_cores_first(sorted(os.sched_getaffinity(0)))
        for round_, core in itertools.product(range(_ROUNDS), cores if len(cores) > 1 else ()):
            name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                name.bind(f"\0{names}-{core}-{round_}")
            except OSError:
                name.close()
                continue
            self.core, self._name = core, name
            return

    def close(self) -> None:
        """Leave the core to others."""
        if self._name is not None:
            self._name.close()


def _whole_cores_first(cores: Sequence[int]) -> list[int]:
    """Order processors so that the second thread of a core comes after the first ones of all cores."""

    def turn(core: int) -> int:
        file = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        try:
            text = file.read_text()
        except OSError:
            return 0
        first = int(text.strip().replace("-", ",").split(",")[0])
        return int(first in cores and first != core)

    return sorted(cores, key=lambda core: (turn(core), core))
