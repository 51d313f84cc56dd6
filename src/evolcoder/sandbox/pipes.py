"""Descriptors of one job: opened together, read while the program runs, closed whatever happens."""

from __future__ import annotations

import os
from typing import Self

from evolcoder.sandbox.container import Container, ProgramEnd
from evolcoder.sandbox.waiting import Wait, Waiting

_READ = 1 << 16


class JobDescriptors:
    """Descriptors to be closed at the end of a job, whatever happens; a context manager."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(list(self._open))

    def __call__(self, fd: int) -> int:
        """Take a descriptor into ownership; returns it."""
        self._open.add(fd)
        return fd

    def pipes(self, count: int) -> tuple[list[int], list[int]]:
        """Open pipes; returns their reading and their writing ends."""
        pairs = [tuple(map(self, os.pipe2(os.O_CLOEXEC))) for _ in range(count)]
        return [read_end for read_end, _ in pairs], [write_end for _, write_end in pairs]

    def close(self, descriptors: list[int]) -> None:
        """Close some of them before the job ends."""
        for fd in descriptors:
            self._open.discard(fd)
            os.close(fd)


def collect(
    container: Container, pipes: list[int], max_bytes: int
) -> Waiting[tuple[ProgramEnd, list[bytes], bool]]:
    """Read a program's output until it has ended; it is killed when it writes more than `max_bytes`."""
    outputs = [bytearray() for _ in pipes]
    control = container.control.fileno()
    still_open = list(pipes)
    for fd in pipes:
        os.set_blocking(fd, False)
    flooded = False
    while True:
        ready = yield Wait((control, *still_open))
        for place, fd in enumerate(pipes):
            if fd in ready and not _drain(fd, outputs[place], max_bytes + 1):
                still_open.remove(fd)
        if not flooded and any(len(output) > max_bytes for output in outputs):
            flooded = True
            container.kill_program()
        if control in ready:
            end = container.program_end()
            for place, fd in enumerate(pipes):
                _drain(fd, outputs[place], max_bytes + 1)
            return end, [bytes(output[:max_bytes]) for output in outputs], flooded


def _drain(fd: int, output: bytearray, max_bytes: int) -> bool:
    """Read what is there, up to `max_bytes` in all; False at the end of the stream or at the bound."""
    while len(output) < max_bytes:
        try:
            chunk = os.read(fd, _READ)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        output += chunk
    return False
