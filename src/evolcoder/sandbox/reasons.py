"""From what a program's process said, and how it ended, to the reason that a verdict names."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any, get_args

from evolcoder.records import Reason, Tier, Verdict
from evolcoder.sandbox import codec
from evolcoder.sandbox.container import ProgramEnd
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import CallValue, Limits, Outcome

STARVED_SHARE = 0.25
"""A program that spent more of its wall time than this waiting for a processor was not given its chance."""
DETAIL_CHARACTERS = 500


def clean(text: str) -> str:
    """Bound a text that came from a program, and make it valid Unicode on every road it may take."""
    return text[:DETAIL_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def forced_end(end: ProgramEnd, limits: Limits) -> tuple[Reason, str] | None:
    """Return why the fork server or the kernel stopped the program; None where it ended by itself."""
    if end.why == wire.KILLED_CPU:
        return "timeout", f"used {end.cpu_s:.2f} s of CPU, the limit is {limits.cpu_s:g} s"
    if end.why == wire.KILLED_MEMORY:
        return "memory", f"its processes held more than {limits.memory_bytes >> 20} MiB"
    if end.why == wire.KILLED_WALL:
        if end.starved_s > STARVED_SHARE * end.wall_s:
            return "infrastructure", f"the machine gave it {end.cpu_s:.2f} s of CPU in {end.wall_s:.1f} s"
        return "timeout", f"did not end within {end.wall_s:.1f} s of wall time"
    if end.why == wire.ENDED and os.WIFSIGNALED(end.status):
        number = os.WTERMSIG(end.status)
        if number == signal.SIGXCPU:
            return "timeout", "used up its CPU time"
        if number == signal.SIGSYS:
            return "forbidden", "made a system call of another architecture"
        if number == signal.SIGKILL and end.peak_memory_bytes < limits.memory_bytes // 2:
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


def verdict(reason: Reason, detail: str, tier: Tier, level: str, end: ProgramEnd | None) -> Verdict:
    """Build a verdict from its parts."""
    return Verdict(
        passed=reason == "passed",
        reason=reason,
        detail=clean(detail),
        tier=tier,
        level=level,
        cpu_s=end.cpu_s if end else 0.0,
        wall_s=end.wall_s if end else 0.0,
        peak_memory_bytes=end.peak_memory_bytes if end else 0,
    )


def infrastructure(detail: str, tier: Tier, level: str) -> Outcome:
    """Return an outcome that says nothing about the program."""
    return Outcome(verdict("infrastructure", detail, tier, level, None))


_REASONS = frozenset(get_args(Reason))


def frames_of(stream: bytes) -> list[tuple[Any, ...]]:
    """Split what a program's process wrote into messages; anything malformed ends the list."""
    frames: list[tuple[Any, ...]] = []
    at = 0
    while at + 4 <= len(stream):
        end = at + 4 + int.from_bytes(stream[at : at + 4], "little")
        if end > len(stream):
            break
        try:
            frame = codec.decode(stream[at + 4 : end])
        except codec.MalformedValueError:
            break
        if type(frame) is not tuple or not frame or type(frame[0]) is not str:
            break
        frames.append(frame)
        at = end
    return frames


def call_values(
    frames: list[tuple[Any, ...]], expected: int, call_cpu_s: tuple[float, ...] | None
) -> tuple[CallValue, ...]:
    """Read what a batch answered, call by call; more answers than calls are none."""
    values: list[CallValue] = []
    for frame in frames:
        if len(values) == expected:
            break
        used = frame[-1] if type(frame[-1]) is float else 0.0
        if frame[0] == "V" and len(frame) == 3:
            over = call_cpu_s is not None and used > call_cpu_s[len(values)]
            values.append(
                CallValue(False, None, "timeout", used) if over else CallValue(True, frame[1], "", used)
            )
        elif frame[0] == "E" and len(frame) == 4:
            values.append(CallValue(False, None, clean(str(frame[2])), used))
        elif frame[0] == "U" and len(frame) == 3:
            values.append(CallValue(False, None, clean(f"unsupported: {frame[1]}"), used))
    return tuple(values)


def reason_of_call(value: CallValue) -> Reason:
    """Name the reason of a job from one call that gave no value."""
    if value.error == "timeout":
        return "timeout"
    if value.error.startswith("unsupported: "):
        return "unsupported"
    if value.error.startswith("MemoryError"):
        return "memory"
    return "exited" if value.error.startswith("SystemExit") else "failed"


def forced_or_told(end: ProgramEnd, frames: list[tuple[Any, ...]], limits: Limits) -> tuple[Reason, str]:
    """Reason of a program that reports its own end: what stopped it goes before what it said."""
    forced = forced_end(end, limits)
    if forced is not None:
        return forced
    if end.why == wire.KILLED_ASKED:
        return "failed", f"answered with more than {codec.MAX_BYTES >> 20} MiB"
    last = frames[-1] if frames else ()
    if last == ("P",):
        return "passed", ""
    if len(last) == 3 and last[0] == "X" and last[1] in _REASONS - {"passed", "infrastructure"}:
        return last[1], str(last[2])
    return "exited", f"its process ended with code {os.waitstatus_to_exitcode(end.status)}"


def end_of_script(end: ProgramEnd, stderr: bytes, limits: Limits, flooded: bool) -> tuple[Reason, str]:
    """Reason of a script: what stopped it, its exit code, its traceback."""
    if flooded:
        return "failed", f"wrote more than {limits.output_bytes} bytes"
    forced = forced_end(end, limits)
    if forced is not None:
        return forced
    if os.waitstatus_to_exitcode(end.status) == 0:
        return "passed", ""
    return reason_from_stderr(stderr)


@dataclass(frozen=True, slots=True)
class EndOfSteps:
    """How a job of steps ended."""

    reason: Reason
    detail: str
    exit_code: int | None
    failed_step: int | None


def end_of_steps(
    end: ProgramEnd, frames: list[tuple[Any, ...]], n_steps: int, stderr: bytes, limits: Limits, flooded: bool
) -> EndOfSteps:
    """Read the report of a job of steps; what stopped the whole goes before what its steps say."""
    statuses = [frame[2] for frame in frames if frame[0] == "S"]
    at_step = min(len(statuses), n_steps - 1)
    exit_code = os.waitstatus_to_exitcode(statuses[-1]) if statuses else None
    forced = forced_end(end, limits)
    if flooded:
        forced = ("failed", f"wrote more than {limits.output_bytes} bytes")
    if forced is not None:
        return EndOfSteps(*forced, exit_code, at_step)
    last = frames[-1] if frames else ("O", "no step was started")
    if last[0] == "N":
        return EndOfSteps("unsupported", f"the sandbox has no program {last[2]!r}", None, at_step)
    if last[0] == "O":
        return EndOfSteps("failed", str(last[1]), None, at_step)
    if exit_code == 0 and len(statuses) == n_steps:
        return EndOfSteps("passed", "", 0, None)
    if exit_code == 0:
        return EndOfSteps("failed", "the process that starts the steps ended early", 0, at_step)
    if exit_code == -signal.SIGXCPU:
        return EndOfSteps("timeout", "used up its CPU time", exit_code, len(statuses) - 1)
    if exit_code is not None and exit_code < 0:
        return EndOfSteps("crashed", signal_name(-exit_code), exit_code, len(statuses) - 1)
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    said = lines[-1] if lines else f"exit code {exit_code}"
    return EndOfSteps("failed", said, exit_code, len(statuses) - 1)


def judged_calls(end: ProgramEnd, told: tuple[Any, ...] | None, limits: Limits) -> tuple[Reason, str]:
    """Verdict of the tests, explained by the candidate's end where it ended before them."""
    if told is not None and told[0] == "passed" and end.why in (wire.ENDED, wire.KILLED_ASKED):
        return "passed", ""
    forced = forced_end(end, limits) if end.why != wire.KILLED_ASKED else None
    if forced is not None:
        return forced
    if told is None:
        return "failed", "the tests' process ended without a verdict"
    if told[0] == "gone":
        return "exited", f"its process ended with code {os.waitstatus_to_exitcode(end.status)}"
    return (told[0], told[1]) if told[0] in _REASONS else ("failed", told[1])
