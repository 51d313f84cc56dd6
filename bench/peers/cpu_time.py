"""CPU time of a peer's process and the children it waited for; the peers run in venvs without evolcoder."""

from __future__ import annotations

import resource


def cpu_seconds() -> float:
    """Return user and system seconds so far."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usages)
