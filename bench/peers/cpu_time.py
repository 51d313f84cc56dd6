"""CPU time of a peer's process and of the processes it started; the peers run in venvs without evolcoder."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def cpu_seconds() -> float:
    """Return user and system seconds so far, with children that were waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usages)


def cpu_seconds_of_tree() -> float:
    """Return the same with the processes below this one that still run."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(stat.parent.name)] = int(fields[1])
        ticks[int(stat.parent.name)] = sum(map(int, fields[11:15]))
    below: set[int] = {os.getpid()}
    found: set[int] = set()
    while below := {pid for pid, parent in parents.items() if parent in below} - found:
        found |= below
    return cpu_seconds() + sum(ticks[pid] for pid in found) / os.sysconf("SC_CLK_TCK")
