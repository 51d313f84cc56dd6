"""From what a program's process said, and how it ended, to the reason that a verdict names."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any, get_args

from evolcoder.records import Reason, Tier, Verdict
from evolcoder.sandbox import codec
from evolcoder.sandbox.container import ProgramEnd
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import CallValue, Limits, Outcome

STARVED_SHARE = 0.25
"""A program that spent more of its wall time than this waiting for a processor was not given its chance."""
DETAIL_CHARACTERS = 500
_LAST_BYTES = 1 << 16
"""Only so much of what a program wrote is split into lines: a million short ones take sixty times as much."""


def clean(text: str) -> str:
    """Bound a text that came from a program, and make it valid Unicode on every road it may take."""
    return text[:DETAIL_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def forced_end(end: ProgramEnd, limits: Limits, flooded: bool = False) -> tuple[Reason, str] | None:
    """Return why this machine stopped the program; None where it ended by itself."""
    if flooded:
        return "failed", f"wrote more than {limits.output_bytes} bytes"
    if end.why == wire.KILLED_CPU and end.cpu_s <= limits.cpu_s:
        return "timeout", "used up the CPU time that it had left itself"
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


def last_lines(output: bytes) -> list[str]:
    """Return the last lines that a program wrote, without those of its end that are empty."""
    return output[-_LAST_BYTES:].decode("utf-8", "replace").strip().splitlines()


def reason_from_stderr(stderr: bytes) -> tuple[Reason, str]:
    """Name what the last line of a traceback says of a script that ended with an exit code of its own."""
    lines = last_lines(stderr)
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


Frame = tuple[bytes, bytes]
"""Kind and body of a frame."""


def frames_of(stream: bytes | bytearray) -> list[Frame]:
    """Split what a program's process wrote into frames; anything that is none ends the list."""
    frames: list[Frame] = []
    at = 0
    while at + 5 <= len(stream):
        size = wire.frame_body_bytes(stream[at : at + 5])
        if size is None or at + 5 + size > len(stream):
            break
        frames.append((bytes(stream[at + 4 : at + 5]), bytes(stream[at + 5 : at + 5 + size])))
        at += 5 + size
    return frames


def parts_of(body: bytes, *kinds: type, memory: codec.Memory | None = None) -> tuple[Any, ...] | None:
    """Decode the body of a frame that holds parts of these types (object: any); None where it does not."""
    try:
        parts = codec.decode(body, memory)
    except codec.MalformedValueError:
        return None
    if type(parts) is not tuple or len(parts) != len(kinds):
        return None
    fits = all(kind is object or type(part) is kind for part, kind in zip(parts, kinds, strict=True))
    return parts if fits else None


def call_value(
    frame: Frame, cpu_limit_s: float | None, memory: codec.Memory | None = None
) -> CallValue | None:
    """Read what one call of a batch gave; None for a frame that says nothing of a call."""
    kind, body = frame
    if kind == wire.VALUE and (parts := parts_of(body, object, float, memory=memory)):
        if cpu_limit_s is not None and parts[1] > cpu_limit_s:
            return CallValue(False, None, "timeout", parts[1])
        return CallValue(True, parts[0], "", parts[1])
    if kind == wire.ERROR and (parts := parts_of(body, str, str, str, float)) is not None:
        return CallValue(False, None, clean(parts[2]), parts[3])
    if kind == wire.UNSUPPORTED and (parts := parts_of(body, str, float)) is not None:
        return CallValue(False, None, clean(f"unsupported: {parts[0]}"), parts[1])
    if kind in (wire.VALUE, wire.ERROR, wire.UNSUPPORTED):
        return CallValue(False, None, "unsupported: what it answered is no value")
    return None


def call_values(
    frames: list[Frame], expected: int, call_cpu_s: tuple[float, ...] | None, memory_bytes: int
) -> tuple[CallValue, ...]:
    """Read what a batch answered, up to a word out of order; values may take `memory_bytes`, about."""
    values: list[CallValue] = []
    memory = codec.Memory(memory_bytes)
    for frame in frames[1:] if frames and frames[0][0] == wire.READY else ():
        if len(values) == expected:
            break
        limit_s = call_cpu_s[len(values)] if call_cpu_s is not None else None
        value = call_value(frame, limit_s, memory)
        if value is None:
            break
        values.append(value)
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


def reason_of_comparer(returncode: int) -> tuple[Reason, str]:
    """Name the reason of a job whose values ended the process that compares them."""
    if returncode == -signal.SIGVTALRM:
        return "timeout", "its values took too long to compare"
    if returncode < 0:
        return "failed", "its values cannot be compared"
    return "infrastructure", f"the process that compares values ended with code {returncode}"


def forced_or_told(
    end: ProgramEnd, frames: list[Frame], limits: Limits, max_bytes: int
) -> tuple[Reason, str]:
    """Reason of a program that reports its own end: what stopped it goes before what it said."""
    if (forced := forced_end(end, limits)) is not None:
        return forced
    if end.why == wire.KILLED_ASKED:
        return "failed", f"answered with more than {max_bytes} bytes"
    told = told_by(frames[-1]) if frames else None
    return told or ("exited", f"its process ended with code {os.waitstatus_to_exitcode(end.status)}")


def told_by(frame: Frame) -> tuple[Reason, str] | None:
    """Return what a program's process says of its own end in its last frame; None where it says nothing."""
    kind, body = frame
    if kind == wire.PASSED:
        return "passed", ""
    told = parts_of(body, str, str) if kind == wire.UNFIT else None
    return (told[0], told[1]) if told and told[0] in _REASONS - {"passed", "infrastructure"} else None


def end_of_script(end: ProgramEnd, stderr: bytes, limits: Limits, flooded: bool) -> tuple[Reason, str]:
    """Reason of a script: what stopped it, its exit code, its traceback."""
    if (forced := forced_end(end, limits, flooded)) is not None:
        return forced
    if os.waitstatus_to_exitcode(end.status) == 0:
        return "passed", ""
    return reason_from_stderr(stderr)


_STARTER_ENDED = "the process that starts the steps ended early"


def end_of_steps(
    end: ProgramEnd, frames: list[Frame], n_steps: int, stderr: bytes, limits: Limits, flooded: bool
) -> tuple[Reason, str, int | None, int | None]:
    """Return reason, detail, exit code, failed step; what stopped the whole goes before what steps say."""
    told = [parts_of(body, int) for kind, body in frames if kind == wire.STEP_ENDED]
    statuses: list[int] = [parts[0] for parts in told if parts is not None]
    at_step = min(len(statuses), n_steps - 1)
    exit_code = os.waitstatus_to_exitcode(statuses[-1]) if statuses else None
    if (forced := forced_end(end, limits, flooded)) is not None:
        return *forced, exit_code, at_step
    kind, body = frames[-1] if frames else (wire.NOT_STARTED, b"")
    if kind in (wire.NO_COMMAND, wire.NOT_STARTED):
        (said,) = parts_of(body, str) or (_STARTER_ENDED,)
        if kind == wire.NO_COMMAND:
            return "unsupported", f"the sandbox has no program {said!r}", None, at_step
        return "failed", said, None, at_step
    if exit_code == 0 and len(statuses) == n_steps:
        return "passed", "", 0, None
    if exit_code == 0:
        return "failed", _STARTER_ENDED, 0, at_step
    if exit_code == -signal.SIGXCPU:
        return "timeout", "used up its CPU time", exit_code, len(statuses) - 1
    if exit_code is not None and exit_code < 0:
        return "crashed", signal_name(-exit_code), exit_code, len(statuses) - 1
    lines = last_lines(stderr)
    said = lines[-1] if lines else f"exit code {exit_code}"
    return "failed", said, exit_code, len(statuses) - 1


def judged_calls(end: ProgramEnd, told: tuple[Any, ...] | None, limits: Limits) -> tuple[Reason, str]:
    """Verdict of the tests, explained by the candidate's end where it ended before them."""
    if told is not None and told[0] == "passed" and end.why in (wire.ENDED, wire.KILLED_ASKED):
        return "passed", ""
    if told is not None and end.why == wire.KILLED_WALL:
        if told[0] == "timeout":
            return told[0], told[1]
        # The program waits while its tests run; where those waited for a processor, so did it: but for what
        # they may have waited for processes of its own.
        end = replace(end, starved_s=end.starved_s + max(0.0, told[2] - end.cpu_s))
    forced = forced_end(end, limits) if end.why != wire.KILLED_ASKED else None
    if forced is not None:
        return forced
    if told is None:
        return "failed", "the tests' process ended without a verdict"
    if told[0] == "gone":
        return "exited", f"its process ended with code {os.waitstatus_to_exitcode(end.status)}"
    return (told[0], told[1]) if told[0] in _REASONS else ("failed", told[1])
