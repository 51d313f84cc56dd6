"""What a program's processes have used so far: the container's /proc, and a counter of the kernel's."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
# Of children too; what the kernel itself does is left out, as an ordinary user may not ask for it.
_TASK_CLOCK = struct.pack("<IIQQQQQ16x", 1, 64, 1, 0, 0, 0, 1 << 1 | 1 << 5)
_CLOSE_ON_EXEC = 8
STOLEN = 1.15
"""The counter also runs while a hypervisor has the processor, so a little more than the processes' own count
says nothing."""
_FEW = 16
_PIPE_BYTES = 1 << 16
# File pages are the interpreter's and its libraries'; page tables belong to what the program maps.
_COUNTED = (b"RssAnon:", b"RssShmem:", b"VmPTE:", b"HugetlbPages:")


class TreeUse(NamedTuple):
    """What a program and all it started use."""

    cpu_s: float
    memory_bytes: int
    starved_s: float
    """Seconds that a thread of it waited for a processor which none of the others had."""


class TreeClock:
    """CPU time of all that the calling process starts, also of what is reaped unseen (SIGCHLD ignored).

    Where the kernel does not lend the counter (perf_event_paranoid above 2, a container without the call),
    such processes count for what was seen of them while they lived.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        attributes = ctypes.create_string_buffer(_TASK_CLOCK, len(_TASK_CLOCK))
        arguments = (ctypes.addressof(attributes), 0, -1, -1, _CLOSE_ON_EXEC)
        call = _PERF_EVENT_OPEN[os.uname().machine]
        self.fd: int = libc.syscall(ctypes.c_long(call), *map(ctypes.c_long, arguments))

    def read(self) -> float:
        """Return seconds since some moment; always 0 without the counter."""
        if self.fd < 0:
            return 0.0
        own = time.process_time()
        return int.from_bytes(os.read(self.fd, 8), "little") / 1e9 - own


def last_process() -> bytes:
    """Number of the process or thread that was last made in this container or below it."""
    with open("/proc/loadavg", "rb") as file:
        return file.read().rpartition(b" ")[2].strip()


class TreeWatch:
    """Reads a program's tree again and again; what a process used stays counted after it is gone."""

    def __init__(self, infrastructure: frozenset[int], memory_bytes: int, namespaces: bool) -> None:
        self._infrastructure = infrastructure
        self._memory_bytes = memory_bytes
        self._namespaces = namespaces
        self._socket_bytes = 3 * _default_socket_bytes() // 2  # a last message may go over
        self._seen_ticks: dict[str, int] = {}
        self.peak_bytes = 0

    def read(self) -> TreeUse:
        """Sum over every process of the container that is not infrastructure."""
        ticks = memory_bytes = descriptors = 0
        longest_ns = 0
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
                memory_bytes += _bytes_in(f"{name}/status", _COUNTED)
                names.append(name)
                descriptors += len(os.listdir(f"/proc/{name}/fd"))
                longest_ns = max(longest_ns, _longest_ns(name, threads=int(fields[17])))
            except (OSError, IndexError, ValueError):
                continue  # it ended while we looked
        # Children that nobody waits for vanish from their parent's sum, but not from what was seen.
        ticks = max(ticks, sum(self._seen_ticks.values()))
        if memory_bytes > self._memory_bytes and len(names) > 1:
            # Forked processes share pages, which were counted for each: look closer, at a millisecond's cost.
            memory_bytes = sum(map(_proportional_bytes, names))
        if descriptors > _FEW * len(names):
            memory_bytes += _PIPE_BYTES * max(0, _pipes(names) - _FEW)
        if self._namespaces:
            memory_bytes += self._socket_bytes * max(0, _sockets() - _FEW)
        self.peak_bytes = max(self.peak_bytes, memory_bytes)
        cpu_s = ticks / _TICKS
        # While one of them waits the others may run; what they had meanwhile was the program's own.
        return TreeUse(cpu_s, memory_bytes, max(0.0, longest_ns / 1e9 - cpu_s))


def _longest_ns(name: str, threads: int) -> int:
    """Return how long a process was ready to run; of several threads, the one that was for longest."""
    # The process's own file is that of its first thread, which waits where another does the work (a JVM's).
    of = [f"{name}/task/{thread}" for thread in os.listdir(f"/proc/{name}/task")] if threads > 1 else [name]
    longest_ns = 0
    for thread in of:
        with open(f"/proc/{thread}/schedstat", "rb") as file:
            on_ns, waited_ns = map(int, file.read().split()[:2])
        longest_ns = max(longest_ns, on_ns + waited_ns)
    return longest_ns


def _bytes_in(file: str, counted: tuple[bytes, ...]) -> int:
    with open(f"/proc/{file}", "rb") as lines:
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(counted))


def _proportional_bytes(name: str) -> int:
    try:
        pages = _bytes_in(f"{name}/smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:"))
        return pages + _bytes_in(f"{name}/status", _COUNTED[2:])
    except OSError:
        return 0  # it ended while we looked


def _pipes(names: list[str]) -> int:
    found = set()
    for name in names:
        try:
            for number in os.listdir(f"/proc/{name}/fd"):
                target = os.readlink(f"/proc/{name}/fd/{number}")
                if target.startswith("pipe:"):
                    found.add(target)
        except OSError:
            continue  # it ended, or closed that one
    return len(found)


def _sockets() -> int:
    # All of the container's network: those in flight and those that nobody accepted are in this list only.
    try:
        with open("/proc/net/unix", "rb") as file:
            return file.read().count(b"\n") - 1
    except OSError:
        return 0


def _default_socket_bytes() -> int:
    try:
        with open("/proc/sys/net/core/wmem_default") as file:
            return int(file.read())
    except OSError:  # not shown in a network namespace by older kernels
        return 212992
