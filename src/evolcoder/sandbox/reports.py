"""From what a program's process said, and how it ended, to the reason of its job."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any, get_args

from evolcoder.records import Reason
from evolcoder.sandbox import codec
from evolcoder.sandbox.container import Reply
from evolcoder.sandbox.ending import clean, forced_end, reason_from_stderr, signal_name
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import CallValue, Limits

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


def forced_or_told(reply: Reply, frames: list[tuple[Any, ...]], limits: Limits) -> tuple[Reason, str]:
    """Reason of a program that reports its own end: what stopped it goes before what it said."""
    forced = forced_end(reply, limits)
    if forced is not None:
        return forced
    if reply.why == wire.KILLED_ASKED:
        return "failed", f"answered with more than {codec.MAX_BYTES >> 20} MiB"
    last = frames[-1] if frames else ()
    if last == ("P",):
        return "passed", ""
    if len(last) == 3 and last[0] == "X" and last[1] in _REASONS - {"passed", "infrastructure"}:
        return last[1], str(last[2])
    return "exited", f"its process ended with code {os.waitstatus_to_exitcode(reply.status)}"


def end_of_script(reply: Reply, stderr: bytes, limits: Limits, flooded: bool) -> tuple[Reason, str]:
    """Reason of a script: what stopped it, its exit code, its traceback."""
    if flooded:
        return "failed", f"wrote more than {limits.output_bytes} bytes"
    forced = forced_end(reply, limits)
    if forced is not None:
        return forced
    if os.waitstatus_to_exitcode(reply.status) == 0:
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
    reply: Reply, frames: list[tuple[Any, ...]], n_steps: int, stderr: bytes, limits: Limits, flooded: bool
) -> EndOfSteps:
    """Read the report of a job of steps; what stopped the whole goes before what its steps say."""
    statuses = [frame[2] for frame in frames if frame[0] == "S"]
    at_step = min(len(statuses), n_steps - 1)
    exit_code = os.waitstatus_to_exitcode(statuses[-1]) if statuses else None
    forced = forced_end(reply, limits)
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


def judged_calls(reply: Reply, told: tuple[Any, ...] | None, limits: Limits) -> tuple[Reason, str]:
    """Verdict of the tests, explained by the candidate's end where it ended before them."""
    if told is not None and told[0] == "passed" and reply.why in (wire.ENDED, wire.KILLED_ASKED):
        return "passed", ""
    forced = forced_end(reply, limits) if reply.why != wire.KILLED_ASKED else None
    if forced is not None:
        return forced
    if told is None:
        return "failed", "the tests' process ended without a verdict"
    if told[0] == "gone":
        return "exited", f"its process ended with code {os.waitstatus_to_exitcode(reply.status)}"
    return (told[0], told[1]) if told[0] in _REASONS else ("failed", told[1])
