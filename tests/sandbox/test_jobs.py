"""What each kind of job says of a program, seen through the sandbox's door."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from evolcoder.errors import SandboxError
from evolcoder.sandbox import Sandbox, container, worker
from evolcoder.sandbox.inside import isolation
from evolcoder.sandbox.protocol import (
    BatchComparison,
    BatchJob,
    CallJob,
    CallValue,
    Compare,
    ExecJob,
    InProcessJob,
    Job,
    Limits,
    StdioJob,
)

QUICK = Limits(cpu_s=0.3, wall_s=1.5)
TESTS = "assert candidate(2) == 4\nassert candidate(3) == 9, 'three'\n"

PROGRAMS = {
    "a right answer": ("def f(x): return x * x", "passed", ""),
    "a wrong answer": (
        "def f(x): return x + 2",
        "failed",
        "assert candidate(3) == 9, 'three' -> AssertionError",
    ),
    "no Python": ("def f(x: return", "syntax error", "invalid syntax"),
    "a NUL byte": ("def f(x): return x * x\0", "syntax error", "null bytes"),
    "a lone surrogate": ("def f(x): return '\ud800'", "syntax error", "surrogates"),
    "no such function": ("def g(x): return x * x", "failed", "defines no function 'f'"),
    "an exception": ("def f(x): return x / 0", "failed", "ZeroDivisionError"),
    "endless recursion": ("def f(x): return f(x)", "failed", "RecursionError"),
    "an endless loop": ("def f(x):\n  while True: pass", "timeout", "CPU"),
    "sleep": ("import time\ndef f(x): time.sleep(99)", "timeout", "wall"),
    "too much memory": ("def f(x): return bytearray(1 << 40)", "memory", "MemoryError"),
    "a crash": ("import ctypes\ndef f(x): ctypes.string_at(0)", "crashed", "SIGSEGV"),
    "os._exit": ("import os\ndef f(x): os._exit(0)", "exited", "code 0"),
    "sys.exit": ("import sys\ndef f(x): sys.exit(0)", "exited", "SystemExit"),
    "a forbidden file": ("def f(x): open('/etc/x', 'w')", "forbidden", "Read-only"),
    "an object": ("class A: __eq__ = lambda *a: True\ndef f(x): return A()", "failed", "AssertionError"),
    "a generator": ("def f(x): return (i for i in [x * x])", "failed", "AssertionError"),
    "a subclass of int": ("class A(int): __eq__ = lambda *a: False\ndef f(x): return A(x * x)", "passed", ""),
    "too deep": ("def f(x):\n  a = []\n  for _ in range(999): a = [a]\n  return a", "unsupported", "nested"),
    "StopIteration": ("def f(x): raise StopIteration", "failed", "RuntimeError"),
    "from __future__": (
        "from __future__ import annotations\ndef f(x: Any) -> No: return x ** 2",
        "passed",
        "",
    ),
    "output": ("print('hello' * 1000)\ndef f(x):\n  print(x)\n  return x * x", "passed", ""),
    "numpy": ("import numpy as np\ndef f(x): return int(np.square(x))", "passed", ""),
    "a main guard": ("def f(x): return x * x\nif __name__ == '__main__': input()", "passed", ""),
}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("case", PROGRAMS)
def test_calls_give_the_exact_reason(sandbox: Sandbox, case: str, trusted: bool) -> None:
    program, reason, detail = PROGRAMS[case]
    limits = Limits(cpu_s=3.0) if case == "numpy" else QUICK
    outcome = sandbox.run(CallJob(program, "f", TESTS, limits, trusted_tests=trusted))
    assert (outcome.verdict.reason, outcome.verdict.passed) == (reason, reason == "passed"), outcome.verdict
    assert detail in outcome.verdict.detail
    assert outcome.verdict.tier == "rpc"
    assert outcome.verdict.level == sandbox.level


def test_arguments_changed_in_place_are_seen_by_the_tests(sandbox: Sandbox) -> None:
    program = "def f(items, table, seen):\n  items.sort()\n  table['b'] = [2]\n  seen.discard(1)"
    tests = (
        "a, b, c = [3, 1], {'a': 1}, {1, 2}\n"
        "f(a, table=b, seen=c)\n"
        "assert (a, b, c) == ([1, 3], {'a': 1, 'b': [2]}, {2})"
    )
    assert sandbox.run(CallJob(program, "f", tests)).verdict.passed


def test_tests_can_expect_an_exception(sandbox: Sandbox) -> None:
    program = "class Mine(ValueError): pass\ndef f(x): raise Mine('no')"
    tests = "try:\n  f(1)\nexcept ValueError as error:\n  assert str(error) == 'no'\nelse:\n  assert False"
    assert sandbox.run(CallJob(program, "f", tests)).verdict.passed


def test_tests_that_swallow_everything_do_not_pass_what_cannot_cross(sandbox: Sandbox) -> None:
    tests = "try:\n  f(1)\nexcept:\n  pass"
    program = PROGRAMS["too deep"][0]
    assert sandbox.run(CallJob(program, "f", tests)).verdict.reason == "unsupported"


def test_an_exception_does_not_end_an_iteration_of_the_tests(sandbox: Sandbox) -> None:
    tests = "assert all(map(lambda pair: candidate(pair[0]) == pair[1], [(1, 1), (2, 4)]))"
    for kind in ("StopIteration", "GeneratorExit", "StopAsyncIteration"):
        assert not sandbox.run(CallJob(f"def f(x): raise {kind}", "f", tests)).verdict.passed


def test_a_comparison_that_python_cannot_interrupt_is_a_timeout(sandbox: Sandbox) -> None:
    program = "def f(x): return [k * (2**61 - 1) for k in range(5, 100000)]"
    for trusted in (True, False):
        job = CallJob(program, "f", "assert set(f(1)) == {1}", Limits(cpu_s=0.5), trusted_tests=trusted)
        assert sandbox.run(job).verdict.reason == "timeout"
        assert sandbox.run(
            CallJob("def f(x): return x * x", "f", TESTS, trusted_tests=trusted)
        ).verdict.passed


@pytest.mark.parametrize("value", ["np.float16('inf')", "np.complex64('inf')", "np.array(np.float32('inf'))"])
def test_an_infinity_of_few_bytes_equals_no_large_number(sandbox: Sandbox, value: str) -> None:
    program = f"import numpy as np\ndef f(x): return {value}"
    for wanted, passed in (("10 ** 39", False), ("-1e39", False), ("float('inf')", True)):
        verdict = sandbox.run(CallJob(program, "f", f"assert f(1) == {wanted}", trusted_tests=True)).verdict
        assert verdict.passed == passed, (wanted, verdict)


def test_helpers_of_the_program_can_be_called(sandbox: Sandbox) -> None:
    program = "def g(x): return x + 1\ndef f(x): return x - 1"
    assert sandbox.run(CallJob(program, "f", "assert g(f(3)) == 3", helpers=("g",))).verdict.passed
    assert not sandbox.run(CallJob(program, "f", "assert g(f(3)) == 3")).verdict.passed


def test_tests_that_never_end_are_a_timeout_and_the_next_are_judged(sandbox: Sandbox) -> None:
    for trusted in (True, False):
        endless = CallJob("def f(x): return x", "f", "while True: f(1)", QUICK, trusted_tests=trusted)
        assert sandbox.run(endless).verdict.reason == "timeout"
        assert sandbox.run(
            CallJob("def f(x): return x * x", "f", TESTS, trusted_tests=trusted)
        ).verdict.passed


def test_a_batch_brings_values_and_errors_back_in_order(sandbox: Sandbox) -> None:
    outcome = sandbox.run(
        BatchJob("def f(a, b): return {'q': (a / b, {1}, b'x', None)}", "f", ((1, 2), (1, 0), (3, 3)))
    )
    assert [value.ok for value in outcome.values] == [True, False, True]
    assert outcome.values[0].value == {"q": (0.5, {1}, b"x", None)}
    assert outcome.values[1].error == "ZeroDivisionError: division by zero"
    assert outcome.verdict.reason == "failed"


def test_each_input_of_a_batch_is_a_fresh_copy(sandbox: Sandbox) -> None:
    shared = [1]
    outcome = sandbox.run(BatchJob("def f(a):\n  a.append(2)\n  return a", "f", ((shared,), (shared,))))
    assert [value.value for value in outcome.values] == [[1, 2], [1, 2]]
    assert shared == [1]


def test_a_batch_limits_each_call(sandbox: Sandbox) -> None:
    program = "def f(a):\n  while a: pass\n  return 7"
    inputs, limits = ((0,), (1,), (0,)), (0.1, 0.1, 0.1)
    outcome = sandbox.run(BatchJob(program, "f", inputs, call_cpu_s=limits))
    assert [(v.ok, v.error) for v in outcome.values] == [(True, ""), (False, "timeout"), (True, "")]
    assert outcome.verdict.reason == "timeout"
    outcome = sandbox.run(BatchJob(program, "f", inputs, call_cpu_s=limits, stop_at_first_error=True))
    assert len(outcome.values) == 2


def test_a_script_gets_stdin_and_gives_output_and_exit_code(sandbox: Sandbox) -> None:
    program = (
        "import sys\nif __name__ == '__main__':\n  print(input())\n  sys.stderr.write('e')\n  sys.exit(3)"
    )
    outcome = sandbox.run(StdioJob(program, b"abc\n"))
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (b"abc\n", b"e", 3)
    assert outcome.verdict.reason == "exited"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(1)", "passed"),
        ("import threading\nthreading.Thread(target=print, args=('late',)).start()", "passed"),
        ("def f(:", "syntax error"),
        ("1 / 0", "failed"),
        ("x = bytearray(1 << 40)", "memory"),
        ("import os; os.abort()", "crashed"),
        ("while True: print('x' * 4096)", "failed"),
    ],
)
def test_a_script_gives_the_exact_reason(sandbox: Sandbox, program: str, reason: str) -> None:
    outcome = sandbox.run(StdioJob(program, limits=QUICK))
    assert outcome.verdict.reason == reason, outcome.verdict


def test_a_program_with_its_own_tests_must_reach_its_end(sandbox: Sandbox) -> None:
    def reason(program: str) -> str:
        return sandbox.run(InProcessJob(program)).verdict.reason

    assert reason("class A: pass\nassert A() is not None") == "passed"
    assert reason("assert 1 == 2") == "failed"
    assert reason("import os; os._exit(0)") == "exited"
    assert reason("raise SystemExit") == "exited"


def test_a_program_with_its_own_tests_cannot_end_early_and_say_that_it_passed(sandbox: Sandbox) -> None:
    frames = [b"\1\0\0\0P", b"\6\0\0\0Pt\0\0\0\0"]
    for say in (f"os.write(4, {frames[0]!r})", f"os.write(4, {frames[1]!r})", "atexit.register(os._exit, 0)"):
        program = f"import atexit, os, sys\n{say}\n"
        for end in ("os._exit(0)", "sys.exit(0)", "raise SystemExit", "assert False"):
            verdict = sandbox.run(InProcessJob(program + end, limits=QUICK)).verdict
            assert verdict.reason in ("exited", "failed"), (program, end, verdict)


def test_steps_of_any_language_run_in_order_until_one_fails(sandbox: Sandbox) -> None:
    files = {"src/a.sh": b"read line; echo got $line"}
    outcome = sandbox.run(ExecJob(files, (("ls", "src"), ("sh", "src/a.sh")), b"it\n"))
    assert (outcome.verdict.passed, outcome.stdout) == (True, b"a.sh\ngot it\n")
    outcome = sandbox.run(ExecJob({}, (("true",), ("sh", "-c", "echo no >&2; exit 4"), ("true",))))
    assert (outcome.failed_step, outcome.exit_code, outcome.verdict.detail) == (1, 4, "no")
    outcome = sandbox.run(ExecJob({}, (("no-such-compiler",),)))
    assert outcome.verdict.reason == "unsupported"


STEP_THAT_ATTACKS = """
import os, resource, signal
for fd in range(16):
    for mode in (os.O_WRONLY, os.O_RDWR):
        try: os.write(os.open(f"/proc/1/fd/{fd}", mode), b"\\6\\0\\0\\0St\\0\\0\\0\\0")
        except OSError: pass
for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, signal.SIGXCPU):
    os.kill(1, number)
for limit in LIMITS:
    resource.prlimit(1, limit, (0, 0))
raise SystemExit(3)
"""


@pytest.mark.parametrize(
    "limits", ["", "resource.RLIMIT_NOFILE", "resource.RLIMIT_AS", "resource.RLIMIT_FSIZE"]
)
def test_a_step_cannot_speak_for_the_process_that_starts_it(sandbox: Sandbox, limits: str) -> None:
    attack = STEP_THAT_ATTACKS.replace("LIMITS", f"[{limits}]").encode()
    job = ExecJob({"a.py": attack}, ((os.path.realpath(sys.executable), "a.py"), ("true",)))
    outcome = sandbox.run(job)
    assert outcome.verdict.reason == "failed" and outcome.failed_step == 0, outcome
    assert outcome.verdict.detail in ("exit code 3", "the process that starts the steps ended early"), outcome


def test_many_jobs_are_taken_no_further_ahead_than_asked(sandbox: Sandbox) -> None:
    taken = 0

    def jobs():
        nonlocal taken
        for index in range(30):
            taken += 1
            yield index, InProcessJob("pass")

    seen = 0
    for _, outcome in sandbox.run_many(jobs(), ahead=4):
        seen += 1
        assert outcome.verdict.passed
        assert taken - seen <= 4
    assert seen == 30


def test_a_batch_whose_answers_are_enough_is_not_waited_for(sandbox: Sandbox) -> None:
    program = "def f(x):\n  while x > 1: pass\n  return x"
    limits = Limits(cpu_s=20.0)
    job = BatchJob(program, "f", ((0,), (1,), (2,)), limits, comparison=comparison_with([0, 3, 2]))
    outcome = sandbox.run(job)
    assert (outcome.compared, outcome.mismatch, outcome.values) == (2, "1 is not 3", ())
    assert (outcome.verdict.passed, outcome.verdict.reason) == (False, "failed")
    assert outcome.verdict.cpu_s < limits.cpu_s / 2
    right = replace(job, comparison=comparison_with([0, 1, 2]), limits=QUICK)
    assert sandbox.run(right).verdict.reason == "timeout"
    assert sandbox.run(replace(right, inputs=((0,), (1,)))).verdict.passed


def test_a_process_that_is_slow_to_end_after_its_last_answer_passes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_GRACE_MS", 0)
    job = BatchJob("held = b'x' * (200 << 20)\ndef f(x): return x", "f", ((0,), (1,)))
    right = replace(job, comparison=comparison_with([0, 1]))
    verdicts = [sandbox.run(right).verdict for _ in range(5)]
    assert [v.passed for v in verdicts] == [True] * 5, verdicts


def compare_with(expected: list[Any]) -> Compare:
    def compare(number: int, value: CallValue) -> str | None:
        return (
            None if value.value == expected[number] else f"{str(value.value)[:99]} is not {expected[number]}"
        )

    return compare


def comparison_with(expected: list[Any]) -> BatchComparison:
    return BatchComparison(str(expected), partial(compare_with, expected))


COSTLY = {
    "colliding hashes": (
        "def f(x): return {k * (2**61 - 1): 0 for k in range(5, 30000)}",
        ("failed", "timeout"),
    ),
    "empty containers": ("def f(x): return [set() for _ in range(100_000)]", ("failed",)),
    "deep": ("def f(x):\n  for _ in range(99): x = [x]\n  return x", ("failed",)),
    "an iterator without end": ("import itertools\ndef f(x): return itertools.count()", ("failed",)),
}


@pytest.mark.parametrize("case", COSTLY)
def test_values_that_are_costly_to_compare_cost_the_scorer_nothing(sandbox: Sandbox, case: str) -> None:
    program, reasons = COSTLY[case]
    sandbox.run(BatchJob("def f(x): return x", "f", ((1,),), comparison=comparison_with([1])))
    before = resource.getrusage(resource.RUSAGE_SELF)
    job = BatchJob(program, "f", ((1,),), Limits(cpu_s=5.0), comparison=comparison_with([{1}]))
    verdict = sandbox.run(job).verdict
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert verdict.reason in reasons, verdict
    assert after.ru_maxrss - before.ru_maxrss < 64 << 10
    assert sandbox.run(replace(job, program="def f(x): return {1}")).verdict.passed


NAMES = [a + b for a in "abcdefgh" for b in "jklmopqruvwxyz"]
FINALLY_IN_FINALLY = "def g():\n" + "".join(f"{' ' * n}try: g()\n{' ' * n}finally:\n" for n in range(1, 20))
COSTLY_TO_COMPILE = {
    "the innermost line half a million times": FINALLY_IN_FINALLY + " " * 20 + "g()\n",
    "a constant for each sum of strings": "x = ''" + " + 'a' * 4096" * 1100 + "\n",
    "a constant for each sum of tuples": "x = ()" + " + (1,) * 256" * 1100 + "\n",
    "names read through nested functions": (
        f"def g({', '.join(NAMES)}):\n return {'lambda:' * 1800}({','.join(NAMES)})\n"
    ),
    "functions nested": "x = " + "lambda:" * 2200 + "1\n",
}


@pytest.mark.parametrize("costly", COSTLY_TO_COMPILE)
def test_a_program_that_is_costly_to_compile_costs_the_scorer_nothing(sandbox: Sandbox, costly: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    limits = Limits(cpu_s=0.2, memory_bytes=256 << 20)
    verdict = sandbox.run(
        CallJob(COSTLY_TO_COMPILE[costly] + "def f(x): return x * x\n", "f", TESTS, limits)
    ).verdict
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert verdict.reason in ("timeout", "memory"), verdict
    assert after.ru_maxrss - before.ru_maxrss < 64 << 10
    assert after.ru_utime - before.ru_utime < 0.2


@pytest.mark.parametrize("before", ["x = 1\n" * 10_000, "try: pass\nfinally: pass\n"])
@pytest.mark.parametrize(("end", "reason"), [("x * x", "passed"), ("x x", "syntax error")])
def test_what_only_the_sandbox_compiles_is_judged_as_any_other(
    sandbox: Sandbox, before: str, end: str, reason: str
) -> None:
    verdict = sandbox.run(CallJob(f"{before}def f(x): return {end}", "f", TESTS)).verdict
    assert verdict.reason == reason, verdict


def mixed_jobs(count: int) -> list[tuple[int, Job]]:
    right, wrong, looping = (f"def f(x): return x {how}" for how in ("* x", "+ 2", "* (lambda: 1 // 0)()"))
    kinds: list[Job] = [
        CallJob(right, "f", TESTS, QUICK, trusted_tests=True),
        CallJob(wrong, "f", TESTS, QUICK, trusted_tests=True),
        StdioJob("print('hello')", limits=QUICK),
        CallJob("import time\ndef f(x): time.sleep(99)", "f", TESTS, Limits(cpu_s=0.2, wall_s=0.3)),
        InProcessJob("assert False", limits=QUICK),
        CallJob(looping, "f", TESTS, QUICK),
    ]
    return [(i, kinds[i % len(kinds)]) for i in range(count)]


MIXED = ["passed", "failed", "passed", "timeout", "failed", "failed"]


@pytest.mark.parametrize("workers", [1, 2])
def test_many_jobs_of_all_kinds_give_each_its_own_outcome(sandbox: Sandbox, workers: int) -> None:
    with Sandbox(workers=workers) as pool:
        outcomes = dict(pool.run_many(mixed_jobs(24)))
    assert [outcomes[i].verdict.reason for i in range(24)] == MIXED * 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_that_fails_and_a_reader_that_leaves_do_not_disturb_what_comes_after(
    sandbox: Sandbox, workers: int
) -> None:
    def broken() -> Iterator[tuple[int, Job]]:
        yield from mixed_jobs(3)
        raise ValueError("no more")

    with Sandbox(workers=workers) as pool:
        with pytest.raises(ValueError, match="no more"):
            list(pool.run_many(broken()))
        reader = pool.run_many(mixed_jobs(6))
        assert next(reader)[0] in range(6)
        reader.close()
        assert [
            outcome.verdict.reason for _, outcome in sorted(pool.run_many(mixed_jobs(6)), key=lambda p: p[0])
        ] == MIXED


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_what_runs_and_leaves_a_sandbox_that_works(sandbox: Sandbox, workers: int) -> None:
    sleeps = CallJob("import time\ndef f(x): time.sleep(9e6)", "f", TESTS, Limits(cpu_s=1e6, wall_s=1e6))

    def interrupted() -> Iterator[tuple[int, Job]]:
        yield from enumerate([sleeps] * workers)
        raise KeyboardInterrupt

    with Sandbox(workers=workers) as pool:
        with pytest.raises(KeyboardInterrupt):
            list(pool.run_many(interrupted()))
        outcomes = dict(pool.run_many(mixed_jobs(6)))
        assert [outcomes[i].verdict.reason for i in range(6)] == MIXED


def test_a_sandbox_that_cannot_start_a_container_says_so_and_keeps_its_workers(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox(workers=2) as pool:
        with monkeypatch.context() as broken:
            broken.setattr(container, "_BOOTSTRAP", "raise SystemExit('no such thing')")
            with pytest.raises(SandboxError, match="no such thing"):
                list(pool.run_many(mixed_jobs(6)))
        outcomes = dict(pool.run_many(mixed_jobs(6)))
        assert [outcomes[i].verdict.reason for i in range(6)] == MIXED


@pytest.mark.parametrize("slow", ["reader", "source"])
def test_a_program_is_looked_after_while_the_reader_or_the_source_takes_long(
    sandbox: Sandbox, slow: str
) -> None:
    writes = StdioJob("print('x' * 500_000)", limits=Limits(cpu_s=1.0, wall_s=2.0))  # more than a pipe holds

    def jobs() -> Iterator[tuple[int, Job]]:
        yield from enumerate([StdioJob("print('hello')"), writes, writes])
        if slow == "source":
            time.sleep(5)

    with Sandbox(workers=2) as pool:
        list(pool.run_many(mixed_jobs(2)))
        found = {}
        for tag, outcome in pool.run_many(jobs()):
            found[tag] = outcome.verdict.reason, len(outcome.stdout)
            if slow == "reader" and len(found) == 1:
                time.sleep(5)
    assert found == {0: ("passed", 6), 1: ("passed", 500_001), 2: ("passed", 500_001)}


def test_a_job_run_between_two_outcomes_waits_for_a_worker_and_gets_one(sandbox: Sandbox) -> None:
    with Sandbox(workers=1) as pool:
        reasons = []
        for _, outcome in pool.run_many(mixed_jobs(6)):
            reasons += [outcome.verdict.reason, pool.run(InProcessJob("pass")).verdict.reason]
    assert sorted(reasons) == sorted(MIXED + ["passed"] * 6)


def test_an_event_loop_is_not_blocked(sandbox: Sandbox) -> None:
    async def both() -> list[str]:
        outcomes = await asyncio.gather(*(sandbox.run_async(InProcessJob("pass")) for _ in range(8)))
        return [outcome.verdict.reason for outcome in outcomes]

    assert asyncio.run(both()) == ["passed"] * 8


def test_a_closed_sandbox_says_so() -> None:
    with Sandbox(workers=1, unsafe=True) as pool:
        assert pool.level == "unsafe"
    with pytest.raises(SandboxError, match="closed"):
        pool.run(InProcessJob("pass"))


@pytest.mark.parametrize("characters", [100, container.PIPE_BYTES, 70_000, 300_000])
def test_programs_and_tests_of_any_length_arrive_whole(sandbox: Sandbox, characters: int) -> None:
    text = "ab" * (characters // 2)
    program = f"T = {text!r}\ndef f(x): return T[x:]"
    assert sandbox.run(CallJob(program, "f", f"assert f(1) == {text[1:]!r}")).verdict.passed
    assert sandbox.run(BatchJob(program, "f", ((1,),))).values[0].value == text[1:]
    assert sandbox.run(StdioJob(f"print({text!r}, end='')")).stdout == text.encode()


def test_a_refused_step_of_the_isolation_is_named_and_one_that_may_fail_is_passed_over() -> None:
    refused = 1 << 20, 0  # no call has this number
    complaints, written = os.pipe()
    enter = isolation._entering([(isolation._MAY_FAIL, refused), ("the last", (*refused, 0))], written)
    if (child := os.fork()) == 0:
        enter()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert os.read(complaints, 100).decode() == f"the last: {os.strerror(errno.ENOSYS)}"
    os.close(complaints)
    os.close(written)
