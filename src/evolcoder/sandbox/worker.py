"""One worker: its containers, and how each kind of job is put through them.

A worker runs one job at a time in the thread that asks. It has a container for programs, one for test code,
and one of each with numpy and pandas imported, started when first needed.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from evolcoder.records import Reason
from evolcoder.sandbox import codec
from evolcoder.sandbox.container import Confinement, Container, ContainerGoneError, Keeper, Reply, sealed
from evolcoder.sandbox.ending import (
    clean,
    forced_end,
    infrastructure,
    reason_from_stderr,
    signal_name,
    verdict,
)
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import (
    BatchJob,
    CallJob,
    CallValue,
    ExecJob,
    InProcessJob,
    Job,
    Limits,
    Outcome,
    Preimport,
    StdioJob,
)

Role = Literal["programs", "tests"]
_TIERS = {StdioJob: "stdio", ExecJob: "stdio", CallJob: "rpc", BatchJob: "batch", InProcessJob: "in-process"}
_REASONS = frozenset(get_args(Reason))
_ENDLESS = Limits(cpu_s=1e7, wall_s=1e9)
_TESTER_GRACE_S = 30.0
"""How long the test process may stay silent after the candidate's end; longer is the machine's fault."""
_CANDIDATE_GRACE_MS = 20
"""A candidate ends by itself when its channel closes, which is quicker than to be killed."""
_READ = 1 << 16


@dataclass(slots=True)
class _Tester:
    """The process that runs test code, and the socket it is spoken to by."""

    container: Container
    control: socket.socket

    def close(self) -> None:
        self.control.close()


class Worker:
    """Runs jobs one at a time; not thread-safe, the pool hands it to one thread at a time."""

    def __init__(self, keeper: Keeper, confinement: Confinement, uid: int) -> None:
        self._keeper = keeper
        self.confinement = confinement
        self._uid = uid
        self._containers: dict[tuple[Role, Preimport], Container] = {}
        self._testers: dict[Preimport, _Tester] = {}

    def run(self, job: Job) -> Outcome:
        """Run one job; a broken container is replaced and reported as infrastructure."""
        try:
            if isinstance(job, StdioJob):
                return self._run_stdio(job)
            if isinstance(job, CallJob):
                return self._run_calls(job)
            if isinstance(job, BatchJob):
                return self._run_batch(job)
            if isinstance(job, InProcessJob):
                return self._run_in_process(job)
            return self._run_exec(job)
        except ContainerGoneError as error:
            self.close()
            return infrastructure(str(error), cast("Any", _TIERS[type(job)]), self.confinement)
        except BaseException:  # Ctrl-C in the middle of a job: the containers' state is unknown
            self.close()
            raise

    def close(self) -> None:
        """End all containers; the next job starts new ones."""
        for tester in self._testers.values():
            tester.close()
        self._testers.clear()
        for container in self._containers.values():
            container.close()
        self._containers.clear()

    def _container(self, role: Role, preimport: Preimport) -> Container:
        key = (role, preimport)
        if key not in self._containers:
            self._containers[key] = Container(self._keeper, self.confinement, preimport, self._uid)
        return self._containers[key]

    # -- programs by themselves ---------------------------------------------------------------------------

    def _run_stdio(self, job: StdioJob) -> Outcome:
        container = self._container("programs", job.preimport)
        with _descriptors() as own:
            payload = own(sealed(marshal.dumps({"program": _source(job.program)})))
            stdin = own(sealed(job.stdin, "stdin"))
            outputs, ends = _output_pipes(own)
            container.launch(wire.STDIO, job.limits, [stdin, *ends, payload])
            _close_now(own, ends)
            reply, (stdout, stderr), flooded = _collect(container, outputs, job.limits.output_bytes)
        reason, detail = _end_of_script(reply, stderr, job.limits, flooded)
        exit_code = os.waitstatus_to_exitcode(reply.status)
        judged = verdict(reason, detail, "stdio", self.confinement, reply)
        return Outcome(judged, stdout, stderr, exit_code=exit_code)

    def _run_in_process(self, job: InProcessJob) -> Outcome:
        payload = {"program": _source(job.program)}
        reply, frames = self._run_framed(wire.IN_PROCESS, payload, job.preimport, job.limits)
        reason, detail = _forced_or_told(reply, frames, job.limits)
        return Outcome(verdict(reason, detail, "in-process", self.confinement, reply))

    def _run_batch(self, job: BatchJob) -> Outcome:
        payload = {
            "program": _source(job.program),
            "entry_point": job.entry_point,
            "inputs": [marshal.dumps(arguments, 2) for arguments in job.inputs],
            "call_cpu_s": list(job.call_cpu_s) if job.call_cpu_s is not None else None,
            "stop_at_first_error": job.stop_at_first_error,
        }
        reply, frames = self._run_framed(wire.BATCH, payload, job.preimport, job.limits)
        values = _call_values(frames, len(job.inputs), job.call_cpu_s)
        reason, detail = _forced_or_told(reply, frames, job.limits)
        if reason == "passed":
            bad = next((value for value in values if not value.ok), None)
            if bad is not None:
                reason, detail = _reason_of_call(bad), bad.error
            elif len(values) < len(job.inputs):
                reason, detail = "failed", "the program's process ended before all calls were answered"
        elif reason == "timeout" and len(values) < len(job.inputs):
            values = (*values, CallValue(False, error="timeout"))
        return Outcome(verdict(reason, detail, "batch", self.confinement, reply), values=values)

    def _run_framed(
        self, kind: int, payload: dict[str, Any], preimport: Preimport, limits: Limits
    ) -> tuple[Reply, list[tuple[Any, ...]]]:
        container = self._container("programs", preimport)
        with _descriptors() as own:
            sealed_payload = own(sealed(marshal.dumps(payload)))
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            own(read_end), own(write_end)
            container.launch(kind, limits, [sealed_payload, write_end])
            _close_now(own, [write_end])
            reply, (stream,), _ = _collect(container, [read_end], codec.MAX_BYTES)
        return reply, _frames(stream)

    # -- programs that answer calls -----------------------------------------------------------------------

    def _run_calls(self, job: CallJob) -> Outcome:
        candidate = self._container("programs", job.preimport)
        tester = self._tester(job)
        names = [job.entry_point, *job.helpers]
        with _descriptors() as own:
            program = own(sealed(marshal.dumps({"program": _source(job.program), "names": names})))
            tests = own(
                sealed(
                    marshal.dumps({"tests": _source(job.tests), "names": names, "cpu_s": job.limits.cpu_s})
                )
            )
            near, far = socket.socketpair()
            with near, far:
                candidate.launch(wire.CANDIDATE, job.limits, [program, near.fileno()])
                _hand_over(tester, [far.fileno(), tests])
            reply, told = self._await_tests(candidate, tester)
        if told is None or not job.trusted_tests or told[0] == "timeout":
            self._end_tester(job.preimport)
        reason, detail = _judged(reply, told, job.limits)
        return Outcome(verdict(reason, detail, "rpc", self.confinement, reply))

    def _await_tests(self, candidate: Container, tester: _Tester) -> tuple[Reply, tuple[Any, ...] | None]:
        """Wait for the tests' word and the candidate's end, whichever comes first."""
        poller = select.poll()
        poller.register(tester.control, select.POLLIN)
        poller.register(candidate.control, select.POLLIN)
        ready = {fd for fd, _ in poller.poll()}
        if tester.control.fileno() in ready:
            told = _verdict_of_tests(tester)
            poller.unregister(tester.control)
            if not poller.poll(_CANDIDATE_GRACE_MS):
                candidate.kill_program()
            return candidate.reply(), told
        reply = candidate.reply()
        # The channel is closed now, so the tests end at the next call, or have ended.
        poller.unregister(candidate.control)
        return reply, _verdict_of_tests(tester) if poller.poll(_TESTER_GRACE_S * 1000) else None

    def _tester(self, job: CallJob) -> _Tester:
        if job.preimport not in self._testers:
            container = self._container("tests", job.preimport)
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            container.launch(wire.TESTER, _ENDLESS, [null, far.fileno()])
            os.close(null)
            far.close()
            self._testers[job.preimport] = _Tester(container, near)
        return self._testers[job.preimport]

    def _end_tester(self, preimport: Preimport) -> None:
        tester = self._testers.pop(preimport)
        tester.close()
        tester.container.kill_program()
        tester.container.reply()

    def _run_exec(self, job: ExecJob) -> Outcome:
        container = self._container("programs", "plain")
        payload = {
            "files": dict(job.files),
            "steps": [list(step) for step in job.steps],
            "environment": dict(job.environment),
        }
        with _descriptors() as own:
            sealed_payload = own(sealed(marshal.dumps(payload)))
            stdin = own(sealed(job.stdin, "stdin"))
            outputs, ends = _output_pipes(own)
            told_read, told_write = os.pipe2(os.O_CLOEXEC)
            own(told_read), own(told_write)
            flags = 0 if job.address_space_limit else wire.NO_ADDRESS_LIMIT
            descriptors = [stdin, *ends, sealed_payload, told_write]
            container.launch(wire.EXEC, job.limits, descriptors, flags)
            _close_now(own, [*ends, told_write])
            pipes = [*outputs, told_read]
            reply, (stdout, stderr, told), flooded = _collect(container, pipes, job.limits.output_bytes)
        ended = _end_of_steps(reply, _frames(told), len(job.steps), stderr, job.limits, flooded)
        judged = verdict(ended.reason, ended.detail, "stdio", self.confinement, reply)
        return Outcome(judged, stdout, stderr, exit_code=ended.exit_code, failed_step=ended.failed_step)


def _source(program: str) -> bytes:
    return program.encode("utf-8", "surrogatepass")


class _Owned:
    """Descriptors to be closed at the end of a job, whatever happens."""

    def __init__(self) -> None:
        self.open: set[int] = set()

    def __call__(self, fd: int) -> int:
        self.open.add(fd)
        return fd


@contextlib.contextmanager
def _descriptors() -> Iterator[_Owned]:
    owned = _Owned()
    try:
        yield owned
    finally:
        _close_now(owned, list(owned.open))


def _close_now(owned: _Owned, descriptors: list[int]) -> None:
    for fd in descriptors:
        owned.open.discard(fd)
        os.close(fd)


def _output_pipes(own: _Owned) -> tuple[list[int], list[int]]:
    pairs = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
    for pair in pairs:
        own(pair[0]), own(pair[1])
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _collect(container: Container, pipes: list[int], max_bytes: int) -> tuple[Reply, list[bytes], bool]:
    """Read a program's output until it has ended; it is killed when it writes more than `max_bytes`."""
    outputs = [bytearray() for _ in pipes]
    poller = select.poll()
    poller.register(container.control, select.POLLIN)
    for fd in pipes:
        poller.register(fd, select.POLLIN)
        os.set_blocking(fd, False)
    flooded = False
    while True:
        ready = [fd for fd, _ in poller.poll()]
        for place, fd in enumerate(pipes):
            if fd in ready and not _drain(fd, outputs[place], max_bytes + 1):
                poller.unregister(fd)
        if not flooded and any(len(output) > max_bytes for output in outputs):
            flooded = True
            container.kill_program()
        if container.control.fileno() in ready:
            reply = container.reply()
            for place, fd in enumerate(pipes):
                _drain(fd, outputs[place], max_bytes + 1)
            return reply, [bytes(output[:max_bytes]) for output in outputs], flooded


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


def _frames(stream: bytes) -> list[tuple[Any, ...]]:
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


def _call_values(
    frames: list[tuple[Any, ...]], expected: int, call_cpu_s: tuple[float, ...] | None
) -> tuple[CallValue, ...]:
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


def _reason_of_call(value: CallValue) -> Reason:
    if value.error == "timeout":
        return "timeout"
    if value.error.startswith("unsupported: "):
        return "unsupported"
    if value.error.startswith("MemoryError"):
        return "memory"
    return "exited" if value.error.startswith("SystemExit") else "failed"


def _forced_or_told(reply: Reply, frames: list[tuple[Any, ...]], limits: Limits) -> tuple[Reason, str]:
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


def _end_of_script(reply: Reply, stderr: bytes, limits: Limits, flooded: bool) -> tuple[Reason, str]:
    if flooded:
        return "failed", f"wrote more than {limits.output_bytes} bytes"
    forced = forced_end(reply, limits)
    if forced is not None:
        return forced
    if os.waitstatus_to_exitcode(reply.status) == 0:
        return "passed", ""
    return reason_from_stderr(stderr)


@dataclass(frozen=True, slots=True)
class _EndOfSteps:
    reason: Reason
    detail: str
    exit_code: int | None
    failed_step: int | None


def _end_of_steps(
    reply: Reply, frames: list[tuple[Any, ...]], n_steps: int, stderr: bytes, limits: Limits, flooded: bool
) -> _EndOfSteps:
    """Read the report of a job of steps; what stopped the whole goes before what its steps say."""
    statuses = [frame[2] for frame in frames if frame[0] == "S"]
    at_step = min(len(statuses), n_steps - 1)
    exit_code = os.waitstatus_to_exitcode(statuses[-1]) if statuses else None
    forced = forced_end(reply, limits)
    if flooded:
        forced = ("failed", f"wrote more than {limits.output_bytes} bytes")
    if forced is not None:
        return _EndOfSteps(*forced, exit_code, at_step)
    last = frames[-1] if frames else ("O", "no step was started")
    if last[0] == "N":
        return _EndOfSteps("unsupported", f"the sandbox has no program {last[2]!r}", None, at_step)
    if last[0] == "O":
        return _EndOfSteps("failed", str(last[1]), None, at_step)
    if exit_code == 0:
        return _EndOfSteps("passed", "", 0, None)
    if exit_code is not None and exit_code < 0:
        return _EndOfSteps("crashed", signal_name(-exit_code), exit_code, len(statuses) - 1)
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    said = lines[-1] if lines else f"exit code {exit_code}"
    return _EndOfSteps("failed", said, exit_code, len(statuses) - 1)


def _hand_over(tester: _Tester, descriptors: list[int]) -> None:
    try:
        socket.send_fds(tester.control, [b"J"], descriptors)
    except OSError:
        raise ContainerGoneError("the process for tests is gone") from None


def _verdict_of_tests(tester: _Tester) -> tuple[Any, ...] | None:
    try:
        packet = tester.control.recv(1 << 16)
        told = codec.decode(packet) if packet else None
    except (OSError, codec.MalformedValueError):
        return None
    well_formed = type(told) is tuple and len(told) == 3 and type(told[0]) is str and type(told[1]) is str
    return told if well_formed else None


def _judged(reply: Reply, told: tuple[Any, ...] | None, limits: Limits) -> tuple[Reason, str]:
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
