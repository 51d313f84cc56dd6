"""A user's benchmark is tried before it judges: its tests must not pass what cannot be right."""

from __future__ import annotations

from collections.abc import Iterator

from evolcoder.cache import cache_folder
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.benchmarks.own_files import problem_mistake
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

    Raises UserError that names the first problem whose tests pass a wrong one, call no program at all, or
    fail the reference. Nothing is done for the benchmarks of this package; what was judged is in the cache.
    """
    if benchmark.own is None:
        return
    cache = VerdictCache(cache_folder() / "verdicts.sqlite")
    try:
        with engine.open(SandboxWork(unsafe), None) as sandbox:
            for problem, said in _mistakes(benchmark, sandbox, cache):
                raise problem_mistake(benchmark.own.path, problem.task_id, said[:_MOST_TOLD])
    finally:
        cache.close()


def _mistakes(
    benchmark: Benchmark, sandbox: Pool[Job, Outcome], cache: VerdictCache
) -> Iterator[tuple[Problem, str]]:
    """Yield what is wrong with the tests of each problem."""
    tried = [(p, what, s) for p in benchmark.problems for what, s in _programs(p)]
    judged = judge_samples([s for _, _, s in tried], benchmark, sandbox=sandbox, cache=cache)
    references: dict[str, list[Verdict]] = {}
    for (problem, what, _), judgement in zip(tried, judged, strict=True):
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


def _programs(problem: Problem) -> Iterator[tuple[str, Sample]]:
    """Yield the reference solution (as ""), as the rest of the prompt and whole; then wrong ones."""
    if text := problem.canonical_solution:
        for whole in (False, True):
            yield "", Sample(problem.task_id, 0, text, text, whole)
    for what, program in _WRONG.items():
        if "{name}" not in program or problem.entry_point.isidentifier():
            text = program.replace("{name}", problem.entry_point)
            yield what, Sample(problem.task_id, 0, text, text, whole=True)
