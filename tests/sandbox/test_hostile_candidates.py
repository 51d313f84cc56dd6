"""What a program does to its tests' process, or to its own, gains it neither a pass nor time."""

from __future__ import annotations

import struct

import pytest

from evolcoder.sandbox import Sandbox, codec
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import BatchJob, CallJob, InProcessJob, Job, Limits, StdioJob

SHORT = Limits(cpu_s=1.0, wall_s=1.5)
RIGHT = "def f(x): return x"
EACH = "assert all(map(lambda x: f(x) == x * 3, (1, 2)))"
EXPECTED = "try: f(1)\nexcept ValueError: pass"
LONG_RANGE = b"x" + struct.pack("<I", 14) + b"builtins.range" + codec.encode((0, 10**8, 1))
FAR = codec.encode(("a", b"", -(2**40), 1 - 2**40, "b"))


def raising(kind: str, made_of: bytes = b"") -> str:
    """Return a program that writes the frame of an exception itself."""
    body = codec.encode(("failed", kind, "", made_of))
    frame = struct.pack("<I", len(body) + 1) + wire.ERROR + body
    return (
        f"import os\ndef f(x):\n    os.write({wire.CHANNEL_FD}, {frame!r})\n    while True: os.read(4, 999)"
    )


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("kind", [" StopIteration", "None StopIteration", "queue.Full StopAsyncIteration"])
def test_no_frame_ends_an_iteration_of_the_tests(sandbox: Sandbox, kind: str, trusted: bool) -> None:
    verdict = sandbox.run(CallJob(raising(kind), "f", EACH, SHORT, trusted_tests=trusted)).verdict
    assert (verdict.reason, verdict.passed) == ("failed", False), verdict


@pytest.mark.parametrize("trusted", [True, False])
def test_arguments_of_an_exception_cost_the_tests_nothing(sandbox: Sandbox, trusted: bool) -> None:
    program = raising("ValueError", LONG_RANGE)
    verdict = sandbox.run(CallJob(program, "f", EXPECTED, SHORT, trusted_tests=trusted)).verdict
    assert verdict.passed, verdict
    far = raising("UnicodeDecodeError", FAR)  # what it shows would be read from anywhere in memory
    verdict = sandbox.run(CallJob(far, "f", EXPECTED, SHORT, trusted_tests=trusted)).verdict
    assert "Exception" in verdict.detail, verdict


def test_what_tests_keep_of_one_program_takes_no_memory_from_the_next(sandbox: Sandbox) -> None:
    long = "def f(x): return [10 ** 12] * (1 << 22)"
    keeps = "def used(): return kept\nkept = [f(0) for _ in range(9)]\nassert 0"
    needs = "assert f(1) == 1\nheld = [bytes(1 << 28) for _ in range(3)]"
    limits = Limits(cpu_s=10.0)
    with Sandbox(workers=1) as pool:
        for program, tests, reason in ((long, keeps, "failed"), (RIGHT, needs, "passed")):
            verdict = pool.run(CallJob(program, "f", tests, limits, trusted_tests=True)).verdict
            assert verdict.reason == reason, verdict


LIMITED = "    import resource\n    resource.setrlimit(resource.RLIMIT_CPU, (0, 0))\n    while True: pass"
SCRIPT = LIMITED.replace("    ", "")
ENDED: dict[str, Job] = {
    "a script": StdioJob(SCRIPT, limits=SHORT),
    "a program with its tests": InProcessJob(SCRIPT, SHORT),
    "a call": CallJob(f"def f(x):\n{LIMITED}", "f", "f(1)", SHORT),
    "a call of a batch": BatchJob(f"def f(x):\n{LIMITED}", "f", ((1,),), SHORT),
}


@pytest.mark.parametrize("case", ENDED)
def test_a_limit_that_a_program_sets_itself_is_not_the_machines_fault(sandbox: Sandbox, case: str) -> None:
    verdict = sandbox.run(ENDED[case]).verdict
    assert (verdict.reason, verdict.passed) == ("timeout", False), verdict
