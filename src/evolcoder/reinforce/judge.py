"""Judge programs by tests, many at once: the reward as a function, for trainers of any kind."""

from __future__ import annotations

import ast
import builtins
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.extraction.grammar import parse_python
from evolcoder.records import Problem, Verdict
from evolcoder.reinforce.reward import Rewarder
from evolcoder.reinforce.settings import RewardSettings
from evolcoder.reinforce.task_tests import CallTest, StdinTest, Test
from evolcoder.sandbox.protocol import CallJob, Limits
from evolcoder.sandbox.work import SandboxWork

TestsGiven = str | Mapping[str, str]
"""Python code that calls the entry point, or {"input", "output"} of a program that reads standard input."""


def judge(
    programs: str | Sequence[str],
    tests: TestsGiven | Sequence[TestsGiven],
    entry_point: str = "",
    *,
    timeout_s: float = 3.0,
    memory_bytes: int = 1 << 30,
    trusted_tests: bool = False,
    engine: Engine = THIS_MACHINE,
) -> list[Verdict]:
    """Judge Python programs by tests, in the sandbox; no program can see, change or leave out its tests.

    Args:
        programs: Source code of each; a single one may stand alone.
        tests: For all programs, or one for each: test code (assertions, `check(candidate)`, `test_*`
            functions or unittest classes) that calls the function by its name and runs in another process;
            or a mapping with the "input" that a program gets and the "output" that it must write.
        entry_point: Name of the function; found in the tests where they call one name that is not Python's.
        timeout_s: CPU seconds that a program may take; a crowded machine takes nothing from it.
        memory_bytes: Memory that it may take.
        trusted_tests: True where no model wrote the tests: one process then runs those of many programs.
        engine: Where programs run.

    Returns:
        One verdict a program, in order; `passed` is all that a reward needs.

    Raises:
        UserError: The numbers of programs and tests differ, or tests are no Python or call nothing.
        SandboxError: This machine cannot run programs safely.
    """
    chosen = [programs] if isinstance(programs, str) else list(programs)
    given = [tests] * len(chosen) if isinstance(tests, (str, Mapping)) else list(tests)
    if len(given) != len(chosen):
        raise UserError(f"{len(chosen)} programs and {len(given)} tests: one for each is expected")
    wanted = [(p, test_of(t, entry_point, trusted_tests)) for p, t in zip(chosen, given, strict=True)]
    settings = RewardSettings(cpu_s=timeout_s, memory_bytes=memory_bytes)
    with engine.open(SandboxWork()) as sandbox:
        return Rewarder(sandbox, settings, 1).verdicts(wanted)


def test_of(given: TestsGiven, entry_point: str = "", trusted: bool = False) -> Test:
    """Return tests as they are run; raises UserError for those that are no Python or call no function."""
    if not isinstance(given, str):
        return StdinTest(str(given.get("input", "")), str(given.get("output", "")))
    # As Python reads names: "ﬁb" and "fib" are one.
    name = unicodedata.normalize("NFKC", entry_point) or _called(given)
    problem = Problem("tests", "own", "", name, given)
    benchmark: Any = AssertionBenchmark("own", "", (problem,))
    mistake = benchmark.mistake_in(problem)
    job = None if mistake else benchmark.job(problem, "pass", Limits(), "human-eval")
    if not isinstance(job, CallJob):
        raise UserError(f"tests: {mistake or 'they read more of the program than its function'}")
    return CallTest(job.tests, (job.entry_point, *job.helpers), trusted)


def _called(tests: str) -> str:
    """Return the first name that test code calls and neither defines nor has from Python; "" where none."""
    tree = parse_python(tests)
    if tree is None:
        return ""
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    calls = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
    names = (f.id for f in calls if isinstance(f, ast.Name))
    return next((name for name in names if name not in bound and name not in dir(builtins)), "")
