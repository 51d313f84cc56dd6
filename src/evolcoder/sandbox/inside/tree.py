"""What a program's processes have used so far, read from the container's /proc."""

from __future__ import annotations

import os
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SHARED_WORTH_A_LOOK = 48 << 20


class TreeUse(NamedTuple):
    """CPU seconds, memory and seconds spent waiting for a processor, of a program and all it started."""

    cpu_s: float
    memory_bytes: int
    starved_s: float


class TreeWatch:
    """Reads a program's tree again and again; what a process used stays counted after it is gone."""

    def __init__(self, infrastructure: frozenset[int], memory_bytes: int) -> None:
        self._infrastructure = infrastructure
        self._memory_bytes = memory_bytes
        self._seen_ticks: dict[str, int] = {}
        self.peak_bytes = 0

    def read(self) -> TreeUse:
        """Sum over every process of the container that is not infrastructure."""
        ticks = pages = waited_ns = 0
        names = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) in self._infrastructure:
                continue
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                own = int(fields[11]) + int(fields[12])
                self._seen_ticks[name] = own
                ticks += own + int(fields[13]) + int(fields[14])  # and of children waited for
                pages += _private_pages(name)
                names.append(name)
                with open(f"/proc/{name}/schedstat", "rb") as file:
                    waited_ns += int(file.read().split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it ended while we looked
        # Children that nobody waits for vanish from their parent's sum, but not from what was seen.
        ticks = max(ticks, sum(self._seen_ticks.values()))
        memory_bytes = pages * _PAGE
        if memory_bytes > self._memory_bytes and len(names) > 1:
            # Forked processes share pages, which were counted for each: look closer, at a millisecond's cost.
            memory_bytes = sum(map(_proportional_bytes, names))
        self.peak_bytes = max(self.peak_bytes, memory_bytes)
        return TreeUse(ticks / _TICKS, memory_bytes, waited_ns / 1e9)


def _proportional_bytes(name: str) -> int:
    try:
        with open(f"/proc/{name}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration):
        return 0  # it ended while we looked


def _private_pages(name: str) -> int:
    with open(f"/proc/{name}/statm", "rb") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    if shared * _PAGE < _SHARED_WORTH_A_LOOK:
        return resident - shared  # shared file pages are the interpreter's and its libraries'
    with open(f"/proc/{name}/status", "rb") as file:
        for line in file:
            if line.startswith(b"RssShmem:"):
                return resident - shared + int(line.split()[1]) * 1024 // _PAGE
    return resident
