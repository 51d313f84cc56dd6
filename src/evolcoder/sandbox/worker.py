"""One worker: its containers, and how each kind of job is put through them.

A worker runs one job at a time; only the end of one program's process may overlap the start of the next
one's. Where it would wait it says for what, so that one thread serves many workers. It has two containers for
programs, which then take turns, one for test code, and one of each with numpy and pandas imported, started
when first needed.
"""

from __future__ import annotations

import marshal
import os
import pickle
import socket
import types
from collections.abc import Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from evolcoder.extraction.grammar import compiled_python
from evolcoder.sandbox import codec, reasons
from evolcoder.sandbox.comparer import Comparer
from evolcoder.sandbox.container import (
    Confinement,
    Container,
    ContainerGoneError,
    Folders,
    JobDescriptors,
    Preimported,
    ProgramEnd,
    collect,
    for_one,
    sealed,
)
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.own_classes import own_classes
from evolcoder.sandbox.protocol import (
    BatchComparison,
    BatchJob,
    CallJob,
    CallValue,
    ExecJob,
    InProcessJob,
    Job,
    Limits,
    Outcome,
    Preimport,
    PythonEnvironment,
    StdioJob,
)
from evolcoder.sandbox.waiting import Wait, Waiting, finished

Role = Literal["programs", "programs in turn", "tests"]
Result = TypeVar("Result")
Steps = Generator[Wait | None, Collection[int], Result]
_TIERS = {StdioJob: "stdio", ExecJob: "stdio", CallJob: "rpc", BatchJob: "batch", InProcessJob: "in-process"}
_ENDLESS = Limits(cpu_s=1e7, wall_s=1e9)
_TESTER_GRACE_S = 30.0
"""How long the test process may stay silent after the candidate's end; longer is the machine's fault."""
_COMPARER_GRACE_S = 120.0
"""How long a comparison may go on after the program's end; its CPU time is bounded by itself."""
_NOT_ALL_ANSWERED = "the program's process ended before all calls were answered"
_GRACE_MS = 20
"""A process ends by itself when its channel closes, which is quicker than to be killed."""


@dataclass(slots=True)
class _Tester:
    """The process that runs test code, and the socket it is spoken to by."""

    container: Container
    control: socket.socket


class SandboxWorker:
    """Runs jobs one at a time; not thread-safe, the pool hands it to one thread at a time."""

    def __init__(
        self, starter: ThreadPoolExecutor, confinement: Confinement, uid: int, core: int | None = None
    ) -> None:
        self._starter = starter
        self.confinement = confinement
        self._uid = uid
        self._core = core
        self._containers: dict[tuple[Role, Preimported, Folders], Container] = {}
        self._testers: dict[Preimported, _Tester] = {}
        self._comparer: Comparer | None = None
        self._comparison_at_hand: tuple[str, int] | None = None
        self._ending: Role | None = None
        """The container whose program has been judged and whose process has not ended."""
        self._tests_at_hand: tuple[tuple[str, tuple[str, ...], float, bool], int] | None = None

    def run(self, job: Job) -> Outcome:
        """Run one job to its end; a broken container is replaced and reported as infrastructure."""
        return finished(to_end(self.steps(job)))

    def steps(self, job: Job) -> Steps[Outcome]:
        """Run one job in steps; yields what it waits for, and None where jobs may overlap.

        After the first None the job of before has to be finished; after the second, if there is one, the next
        job may begin.
        """
        try:
            if isinstance(job, CallJob):
                return (yield from self._run_calls(job))
            yield None
            if isinstance(job, StdioJob):
                return (yield from self._run_stdio(job))
            if isinstance(job, BatchJob):
                return (yield from self._run_batch(job))
            if isinstance(job, InProcessJob):
                return (yield from self._run_in_process(job))
            return (yield from self._run_exec(job))
        except ContainerGoneError as error:
            self.close()
            return reasons.infrastructure(str(error), cast("Any", _TIERS[type(job)]), self.confinement)
        except BaseException:  # Ctrl-C in the middle of a job: the containers' state is unknown
            self.close()
            raise

    def close(self) -> None:
        """End all containers; the next job starts new ones."""
        for tester in self._testers.values():
            tester.control.close()
        self._testers.clear()
        self._forget_tests()
        if self._comparer is not None:
            self._comparer.close()
            self._comparer = None
        self._forget_comparison()
        for container in self._containers.values():
            container.close()
        self._containers.clear()

    def _container(self, role: Role, preimport: Preimported, further: Folders = ()) -> Waiting[Container]:
        key = (role, preimport, further)
        if key not in self._containers:
            container = Container(self._starter, self.confinement, preimport, self._uid, further, self._core)
            yield from container.ready()
            self._containers[key] = container
        return self._containers[key]

    # -- programs by themselves ---------------------------------------------------------------------------

    def _run_stdio(self, job: StdioJob) -> Waiting[Outcome]:
        container = yield from self._container("programs", job.preimport)
        with JobDescriptors() as own:
            payload = own(for_one(marshal.dumps({"program": _source(job.program)})))
            stdin = own(sealed(job.stdin, "stdin"))
            outputs, ends = own.pipes(2)
            container.launch(wire.STDIO, job.limits, [stdin, *ends, payload])
            own.close(ends)
            end, (stdout, stderr), flooded = yield from collect(container, outputs, job.limits.output_bytes)
        reason, detail = reasons.end_of_script(end, stderr, job.limits, flooded)
        exit_code = os.waitstatus_to_exitcode(end.status)
        judged = reasons.verdict(reason, detail, "stdio", self.confinement, end)
        return Outcome(judged, stdout, stderr, exit_code=exit_code)

    def _run_in_process(self, job: InProcessJob) -> Waiting[Outcome]:
        word = os.urandom(16)
        payload = {"program": _program(job.program, job.preimport), "word": word}
        most = 2 * wire.MAX_WORD_BYTES  # its one word
        end, frames = yield from self._run_framed(wire.IN_PROCESS, payload, job.preimport, job.limits, most)
        reason, detail = reasons.forced_or_told(end, frames, job.limits, most)
        if reason == "passed" and frames[-1][1] != codec.encode((word,)):
            reason, detail = "exited", "its process ended before its tests did"
        return Outcome(reasons.verdict(reason, detail, "in-process", self.confinement, end))

    def _run_batch(self, job: BatchJob) -> Waiting[Outcome]:
        payload = {
            "program": _program(job.program, job.preimport),
            "entry_point": job.entry_point,
            "inputs": [marshal.dumps(arguments, 2) for arguments in job.inputs],
            "call_cpu_s": list(job.call_cpu_s) if job.call_cpu_s is not None else None,
            "stop_at_first_error": job.stop_at_first_error,
        }
        if job.comparison is not None:
            return (yield from self._run_compared(job, job.comparison, payload))
        end, frames = yield from self._run_framed(
            wire.BATCH, payload, job.preimport, job.limits, job.values_bytes
        )
        values = reasons.call_values(frames, len(job.inputs), job.call_cpu_s, job.values_bytes)
        reason, detail = reasons.forced_or_told(end, frames, job.limits, job.values_bytes)
        if reason == "passed":
            bad = next((value for value in values if not value.ok), None)
            if bad is not None:
                reason, detail = reasons.reason_of_call(bad), bad.error
            elif len(values) < len(job.inputs):
                reason, detail = "failed", _NOT_ALL_ANSWERED
        elif reason == "timeout" and len(values) < len(job.inputs):
            values = (*values, CallValue(False, error="timeout"))
        return Outcome(reasons.verdict(reason, detail, "batch", self.confinement, end), values=values)

    def _run_compared(
        self, job: BatchJob, comparison: BatchComparison, payload: dict[str, Any]
    ) -> Waiting[Outcome]:
        """Have the values of a batch compared as they come; the first that is wrong ends the program."""
        container = yield from self._container("programs", job.preimport)
        self._comparer = comparer = self._comparer or Comparer()
        with JobDescriptors() as own:
            (read_end,), (write_end,) = own.pipes(1)
            container.launch(wire.BATCH, job.limits, [own(for_one(marshal.dumps(payload))), write_end])
            sealed_comparison = self._sealed_comparison(comparison)
            comparer.begin(sealed_comparison, read_end, len(job.inputs), job.call_cpu_s, job.limits.cpu_s)
        end: ProgramEnd | None = None
        control, compared_fd = container.control.fileno(), comparer.control.fileno()
        if compared_fd not in (yield Wait((control, compared_fd))):
            end = container.program_end()
            yield Wait((compared_fd,), _COMPARER_GRACE_S * 1000)
        compared = comparer.result()
        if end is None:
            end = yield from _ended(container)
        if compared is None:
            self._comparer = None
            reason, detail = reasons.reason_of_comparer(comparer.close())
            return Outcome(reasons.verdict(reason, detail, "batch", self.confinement, end))
        if end.why == wire.KILLED_ASKED:  # by this worker, after the comparison had come to its end
            reason, detail = reasons.told_by(compared.last) or ("failed", _NOT_ALL_ANSWERED)
        else:
            frames = [compared.last] if compared.last[0] else []
            reason, detail = reasons.forced_or_told(end, frames, job.limits, codec.MAX_BYTES)
        if compared.mismatch is not None:
            reason = "timeout" if compared.mismatch == "timeout" else "failed"
            detail = compared.mismatch
        elif reason == "passed" and compared.values < len(job.inputs):
            reason, detail = "failed", _NOT_ALL_ANSWERED
        judged = reasons.verdict(reason, detail, "batch", self.confinement, end)
        return Outcome(judged, compared=compared.values, mismatch=compared.mismatch)

    def _sealed_comparison(self, comparison: BatchComparison) -> int:
        """Return the comparison as its process reads it; that of the last job is kept at hand."""
        if self._comparison_at_hand is None or self._comparison_at_hand[0] != comparison.key:
            self._forget_comparison()
            self._comparison_at_hand = comparison.key, sealed(pickle.dumps(comparison))
        return self._comparison_at_hand[1]

    def _forget_comparison(self) -> None:
        if self._comparison_at_hand is not None:
            os.close(self._comparison_at_hand[1])
            self._comparison_at_hand = None

    def _run_framed(
        self,
        kind: int,
        payload: dict[str, Any],
        preimport: Preimport | PythonEnvironment,
        limits: Limits,
        max_bytes: int,
    ) -> Waiting[tuple[ProgramEnd, list[reasons.Frame]]]:
        container = yield from self._container("programs", preimport)
        with JobDescriptors() as own:
            outputs, ends = own.pipes(1)
            container.launch(kind, limits, [own(for_one(marshal.dumps(payload))), *ends])
            own.close(ends)
            end, (stream,), _ = yield from collect(container, outputs, max_bytes)
        return end, reasons.frames_of(stream)

    # -- programs that answer calls -----------------------------------------------------------------------

    def _run_calls(self, job: CallJob) -> Steps[Outcome]:
        overlaps = job.preimport == "plain"
        if not overlaps:
            yield None
        role: Role = "programs in turn" if overlaps and self._ending == "programs" else "programs"
        candidate = yield from self._container(role, job.preimport)
        # One process runs the published tests of many programs, and imports what they want as it goes.
        tests_in = yield from self._container("tests", "nothing" if job.trusted_tests else job.preimport)
        names = [job.entry_point, *job.helpers]
        with JobDescriptors() as own:
            payload = {"program": _program(job.program, job.preimport), "names": names}
            program = own(for_one(marshal.dumps(payload)))
            tests = self._sealed_tests(job, names)
            near, far = socket.socketpair()
            with near, far:
                candidate.launch(wire.CANDIDATE, job.limits, [program, near.fileno()])
                tester = self._tester(job, tests_in, tests, far.fileno())
        if overlaps:
            yield None
        end, told = yield from self._await_tests(candidate, tester)
        if told is None or not job.trusted_tests or told[0] == "timeout":
            over_time = yield from self._end_tester(tester)
            told = told or (("timeout", "the tests used up the CPU time") if over_time else None)
        if end is None:
            if overlaps:
                self._ending = role
                yield None
                self._ending = None
            end = yield from _ended(candidate)
        reason, detail = reasons.judged_calls(end, told, job.limits)
        return Outcome(reasons.verdict(reason, detail, "rpc", self.confinement, end))

    def _sealed_tests(self, job: CallJob, names: list[str]) -> int:
        """Return the tests as the test process reads them; those of the last job are kept at hand."""
        asked = (job.tests, tuple(names), job.limits.cpu_s, job.trusted_tests)
        if self._tests_at_hand is None or self._tests_at_hand[0] != asked:
            self._forget_tests()
            # A process that runs the tests of many programs compiles each once itself.
            code = None if job.trusted_tests else compiled_python(job.tests, wire.TESTS_NAME)
            payload = {
                "tests": _source(job.tests),
                "code": code if isinstance(code, types.CodeType) else None,
                "names": names,
                "cpu_s": job.limits.cpu_s,
                "classes": own_classes(job.tests, frozenset((*names, "candidate"))),
            }
            self._tests_at_hand = asked, sealed(marshal.dumps(payload))
        return self._tests_at_hand[1]

    def _forget_tests(self) -> None:
        if self._tests_at_hand is not None:
            os.close(self._tests_at_hand[1])
            self._tests_at_hand = None

    def _await_tests(
        self, candidate: Container, tester: _Tester
    ) -> Waiting[tuple[ProgramEnd | None, tuple[Any, ...] | None]]:
        """Wait for the tests' word or the candidate's end; after the tests' word the end is still to come.

        The word: a reason, what is said of it, how many seconds the tests waited for a processor.
        """
        tests = tester.control.fileno()
        if tests in (yield Wait((tests, candidate.control.fileno()))):
            return None, _verdict_of_tests(tester)
        end = candidate.program_end()
        # The channel is closed now, so the tests end at the next call, or have ended.
        told = yield Wait((tests,), _TESTER_GRACE_S * 1000)
        return end, _verdict_of_tests(tester) if told else None

    def _tester(self, job: CallJob, container: Container, tests: int, channel: int) -> _Tester:
        """Have a process run tests against the program at the other end of `channel`."""
        kind: Preimported = "nothing" if job.trusted_tests else job.preimport
        tester = self._testers.get(kind)
        if tester is None:
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            tester = self._testers[kind] = _Tester(container, near)
            with far:
                if not job.trusted_tests:
                    limits = replace(_ENDLESS, cpu_s=job.limits.cpu_s + wire.LAST_WORD_S)
                    container.launch(wire.ONE_TESTER, limits, [tests, channel, far.fileno()])
                else:
                    with Path(os.devnull).open("rb") as null:
                        container.launch(wire.TESTER, _ENDLESS, [null.fileno(), far.fileno()])
        if job.trusted_tests:
            try:
                socket.send_fds(tester.control, [b"J"], [channel, tests])
            except OSError:
                raise ContainerGoneError("the process for tests is gone") from None
        return tester

    def _end_tester(self, tester: _Tester) -> Waiting[bool]:
        """End the tests' process; returns whether it had been ended for its CPU time."""
        self._testers = {kind: other for kind, other in self._testers.items() if other is not tester}
        tester.control.close()
        end = yield from _ended(tester.container)
        return end.why == wire.KILLED_CPU or end.status == wire.TESTS_OVER_TIME << 8

    def _run_exec(self, job: ExecJob) -> Waiting[Outcome]:
        unsafe = self.confinement == "unsafe"
        container = yield from self._container("programs", "plain", () if unsafe else job.folders)
        here = job.folders if unsafe else ()
        payload = {
            "files": dict(job.files),
            "steps": [[_path_here(part, here) for part in step] for step in job.steps],
            "environment": {name: _path_here(value, here) for name, value in job.environment.items()},
            "step_cpu_s": list(job.step_cpu_s) if job.step_cpu_s is not None else None,
        }
        with JobDescriptors() as own:
            sealed_payload = own(sealed(marshal.dumps(payload)))
            stdin = own(sealed(job.stdin, "stdin"))
            pipes, (out, err, told_end) = own.pipes(3)
            flags = 0 if job.address_space_limit else wire.NO_ADDRESS_LIMIT
            container.launch(wire.EXEC, job.limits, [stdin, out, err, sealed_payload, told_end], flags)
            own.close([out, err, told_end])
            most = job.limits.output_bytes
            end, (stdout, stderr, told), flooded = yield from collect(container, pipes, most)
        reason, detail, exit_code, failed_step = reasons.end_of_steps(
            end, reasons.frames_of(told), len(job.steps), stderr, job.limits, flooded
        )
        judged = reasons.verdict(reason, detail, "stdio", self.confinement, end)
        return Outcome(judged, stdout, stderr, exit_code=exit_code, failed_step=failed_step)


def to_end(steps: Steps[Result]) -> Waiting[Result]:
    """Take a job from where it is to its end."""
    while True:
        result = yield from to_mark(steps)
        if result is not None:
            return result


def to_mark(steps: Steps[Result]) -> Waiting[Result | None]:
    """Take a job to where jobs may overlap, or return its result where it ends before."""
    try:
        wait = next(steps)
        while wait is not None:
            wait = steps.send((yield wait))
    except StopIteration as end:
        return cast("Result", end.value)
    except GeneratorExit:
        steps.close()
        raise
    return None


def _path_here(text: str, folders: Folders) -> str:
    """Name folders as this machine does, for programs that run without protection."""
    for folder, inside in folders:
        text = text.replace(inside, folder)
    return text


def _program(program: str, preimport: Preimport | PythonEnvironment) -> bytes | types.CodeType:
    """Return a program compiled where the same Python will run it, else its source.

    Compiling here costs a fraction of what it costs a fresh process. The code is never executed here.
    """
    compiled = program if isinstance(preimport, PythonEnvironment) else compiled_python(program)
    return compiled if isinstance(compiled, types.CodeType) else _source(program)


def _source(program: str) -> bytes:
    return program.encode("utf-8", "surrogatepass")


def _ended(container: Container) -> Waiting[ProgramEnd]:
    """Wait for a program that is to end, not for long."""
    control = (container.control.fileno(),)
    if not (yield Wait(control, _GRACE_MS)):
        container.kill_program()
        yield Wait(control)
    return container.program_end()


def _verdict_of_tests(tester: _Tester) -> tuple[Any, ...] | None:
    try:
        packet = tester.control.recv(1 << 16)
        told = codec.decode(packet) if packet else None
    except (OSError, codec.MalformedValueError):
        return None
    well_formed = type(told) is tuple and list(map(type, told)) == [str, str, float]
    return told if well_formed else None
