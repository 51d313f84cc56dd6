"""A user's benchmark is tried before it judges: its tests must not pass what cannot be right."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.benchmarks.own_benchmark import problem_mistake
from evolcoder.evaluate.scoring import judge_samples
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.execution.engine import Engine, Pool
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.records import Problem, Sample, Verdict
from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.work import SandboxWork

_EQUAL = """
class Equal:
    def _self(self, *arguments, **keywords): return self
    def _true(self, *arguments): return True
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = _true
    __call__ = __getattr__ = __getitem__ = __enter__ = __abs__ = __neg__ = __round__ = _self
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __mod__ = __pow__ = _self
    __exit__ = __setitem__ = _self
    def __ne__(self, other): return False
    def __iter__(self): return iter(())
    def __len__(self): return 0
    def __float__(self): return 0.0
    def __int__(self): return 0
    __hash__ = None
"""
_FUNCTION = "def {name}(*arguments, **keywords):\n    return {value}\n"
_WRONG = {
    "a program without a function": "pass\n",
    "a function that returns None": _FUNCTION.replace("{value}", "None"),
    "a function whose result says that it equals everything": _EQUAL
    + _FUNCTION.replace("{value}", "Equal()"),
}
_MOST_TOLD = 300


def check_own_tests(benchmark: Benchmark, unsafe: bool = False, engine: Engine = THIS_MACHINE) -> None:
    """Judge each problem of a user's file with its reference solution and with programs that are wrong.

    Raises UserError that names the first problem whose tests pass a wrong one, call no program at all, fail
    the reference, or have assertions that could fail unnoticed. Those of this package are taken as they are.
    """
    if benchmark.own is None:
        return
    with VerdictCache() as cache, engine.open(SandboxWork(unsafe), None) as sandbox:
        for problem, said in _mistakes(benchmark, sandbox, cache):
            raise problem_mistake(benchmark.own.path, problem.task_id, said[:_MOST_TOLD])


def _mistakes(
    benchmark: Benchmark, sandbox: Pool[Job, Outcome], cache: VerdictCache
) -> Iterator[tuple[Problem, str]]:
    """Yield what is wrong with the tests of each problem."""
    tried = [(p, what, s) for p in benchmark.problems for what, s in _programs(p)]
    judged = judge_samples([s for _, _, s in tried], benchmark, sandbox=sandbox, cache=cache)
    references: dict[str, list[Verdict]] = {}
    passing: dict[str, tuple[Problem, Sample]] = {}
    for (problem, what, sample), judgement in zip(tried, judged, strict=True):
        verdict = judgement.verdict
        if verdict.reason == "untested":
            yield problem, f"its tests test nothing: {verdict.detail}"
        elif what and verdict.passed:
            weak = ", as tests and program run in one process" if verdict.tier == "in-process" else ""
            yield problem, f"its tests pass {what}{weak}"
        elif not what:
            tries = references.setdefault(problem.task_id, [])
            tries.append(verdict)
            if len(tries) == 2 and not any(v.passed for v in tries):
                told = next((v for v in tries if v.reason != "syntax error"), tries[0])
                yield problem, f"its reference solution does not pass: {told.detail or told.reason}"
            if verdict.passed:
                passing[problem.task_id] = problem, sample
    if isinstance(benchmark, AssertionBenchmark):
        yield from _passed_over(benchmark, list(passing.values()), sandbox, cache)


def _passed_over(
    benchmark: AssertionBenchmark,
    references: list[tuple[Problem, Sample]],
    sandbox: Pool[Job, Outcome],
    cache: VerdictCache,
) -> Iterator[tuple[Problem, str]]:
    """Yield each problem whose tests pass its reference although the assertions of one of them fail."""
    tried = [
        (problem, first, changed, replace(sample, task_id=changed.task_id))
        for problem, sample in references
        for first, changed in _failing(problem)
    ]
    altered = replace(benchmark, problems=tuple(changed for _, _, changed, _ in tried))
    judged = judge_samples([sample for *_, sample in tried], altered, sandbox=sandbox, cache=cache)
    for (problem, first, _, _), judgement in zip(tried, judged, strict=True):
        if judgement.verdict.passed:
            yield (
                problem,
                f"its tests would pass if this failed, as it is not reached or passed over: {first}",
            )


def _failing(problem: Problem) -> Iterator[tuple[str, Problem]]:
    """Yield the problem with all assertions of one of its tests failing, and the first of them."""
    for number, statement in enumerate(ast.parse(problem.tests).body):
        for part in range(len(_parts(statement))):
            tree = ast.parse(problem.tests)
            fails = _Fails()
            fails.visit(_parts(tree.body[number])[part])
            if fails.first:
                changed = ast.unparse(ast.fix_missing_locations(tree))
                name = f"{problem.task_id} {number}.{part}"
                yield fails.first, replace(problem, task_id=name, tests=changed)


_DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _parts(statement: ast.stmt) -> list[ast.stmt]:
    """Return what of a statement of test code is a test by itself: a class's tests; no helper function.

    An assertion that stands alone is none of these: nothing can pass it over.
    """
    if isinstance(statement, ast.ClassDef):
        return [part for part in statement.body if _parts(part) and isinstance(part, _DEFINING)]
    if isinstance(statement, _DEFINING):
        name = statement.name.lower()
        return [statement] if "test" in name or name.startswith("check") else []
    return [] if isinstance(statement, ast.Assert) else [statement]


class _Fails(ast.NodeTransformer):
    """Makes assertions fail, but for those that say themselves that they must not be reached."""

    first = ""
    """The first of them, as Python."""

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        if isinstance(node.test, ast.Constant):
            return node
        self.first = self.first or ast.unparse(node)
        return ast.Assert(ast.Constant(False))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        called = node.func
        if not isinstance(called, ast.Attribute) or not called.attr.startswith("assert"):
            return node
        if not isinstance(called.value, ast.Name) or called.value.id != "self":
            return node
        self.first = self.first or ast.unparse(node)
        return ast.Call(ast.Attribute(called.value, "fail", ast.Load()), [], [])


def _programs(problem: Problem) -> Iterator[tuple[str, Sample]]:
    """Yield the reference solution (as ""), as the rest of the prompt and whole; then wrong ones."""
    if text := problem.canonical_solution:
        for whole in (False, True):
            yield "", Sample(problem.task_id, 0, text, text, whole)
    for what, program in _WRONG.items():
        if "{name}" not in program or problem.entry_point.isidentifier():
            text = program.replace("{name}", problem.entry_point)
            yield what, Sample(problem.task_id, 0, text, text, whole=True)
