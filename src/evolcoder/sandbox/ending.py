"""From how a program's process ended to the reason that a verdict names."""

from __future__ import annotations

import os
import signal

from evolcoder.records import Reason, Tier, Verdict
from evolcoder.sandbox.container import Reply
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import Limits, Outcome

STARVED_SHARE = 0.25
"""A program that spent more of its wall time than this waiting for a processor was not given its chance."""
DETAIL_CHARACTERS = 500


def clean(text: str) -> str:
    """Bound a text that came from a program, and make it valid Unicode on every road it may take."""
    return text[:DETAIL_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def forced_end(reply: Reply, limits: Limits) -> tuple[Reason, str] | None:
    """Return why the fork server or the kernel stopped the program; None where it ended by itself."""
    if reply.why == wire.KILLED_CPU:
        return "timeout", f"used {reply.cpu_s:.2f} s of CPU, the limit is {limits.cpu_s:g} s"
    if reply.why == wire.KILLED_MEMORY:
        return "memory", f"its processes held more than {limits.memory_bytes >> 20} MiB"
    if reply.why == wire.KILLED_WALL:
        if reply.starved_s > STARVED_SHARE * reply.wall_s:
            return "infrastructure", f"the machine gave it {reply.cpu_s:.2f} s of CPU in {reply.wall_s:.1f} s"
        return "timeout", f"did not end within {reply.wall_s:.1f} s of wall time"
    if reply.why == wire.ENDED and os.WIFSIGNALED(reply.status):
        number = os.WTERMSIG(reply.status)
        if number == signal.SIGXCPU:
            return "timeout", "used up its CPU time"
        if number == signal.SIGSYS:
            return "forbidden", "made a system call of another architecture"
        if number == signal.SIGKILL and reply.peak_memory_bytes < limits.memory_bytes // 2:
            # Programs are the first that the kernel ends when a machine has no memory left, whoever took it.
            return "infrastructure", "killed by the kernel: the machine was out of memory"
        if number == signal.SIGKILL:
            return "memory", "killed by the kernel (out of memory)"
        return "crashed", signal_name(number)
    return None


def signal_name(number: int) -> str:
    """Name a signal as programmers do."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def reason_from_stderr(stderr: bytes) -> tuple[Reason, str]:
    """Name what the last line of a traceback says of a script that ended with an exit code of its own."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    last = lines[-1] if lines else ""
    kind = last.partition(":")[0]
    if not any(line.startswith(("Traceback", "  File ")) for line in lines[-200:]):
        return "exited", last
    if kind in ("SyntaxError", "IndentationError", "TabError"):
        return "syntax error", last
    if kind == "MemoryError":
        return "memory", last
    if kind == "PermissionError" or "[Errno 30]" in last or "[Errno 101]" in last or "[Errno 97]" in last:
        return "forbidden", last
    return "failed", last


def verdict(reason: Reason, detail: str, tier: Tier, level: str, reply: Reply | None) -> Verdict:
    """Build a verdict from its parts."""
    return Verdict(
        passed=reason == "passed",
        reason=reason,
        detail=clean(detail),
        tier=tier,
        level=level,
        cpu_s=reply.cpu_s if reply else 0.0,
        wall_s=reply.wall_s if reply else 0.0,
        peak_memory_bytes=reply.peak_memory_bytes if reply else 0,
    )


def infrastructure(detail: str, tier: Tier, level: str) -> Outcome:
    """Return an outcome that says nothing about the program."""
    return Outcome(verdict("infrastructure", detail, tier, level, None))
