"""A user's benchmark: a Python file whose function `load()` returns it (`evolcoder.own_files`)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.own_files import file_stamp, load_own_file
from evolcoder.records import Problem

_TEXTS = ("task_id", "benchmark", "prompt", "entry_point", "tests", "canonical_solution")


def own_benchmark(path: Path) -> Benchmark:
    """Import a user's file and return its benchmark; raises UserError that names the file and the line."""
    load_own_file(path)  # says so where there is no such file
    return _checked(path, file_stamp(path))


def problem_mistake(path: Path, task_id: str, said: str) -> UserError:
    """Return the error that names a problem of a user's file, and its line where the file spells its id."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    spelt = (f'"{task_id}"', f"'{task_id}'")
    line = next((n for n, text in enumerate(lines, 1) if any(quoted in text for quoted in spelt)), None)
    return UserError(f"{path}: {'' if line is None else f'line {line}: '}problem {task_id}: {said}")


@lru_cache(maxsize=8)
def _checked(path: Path, stamp: object) -> Benchmark:
    # The stamp and not the hash: the data that a file reads may differ where its text does not.
    found, own = load_own_file(path)
    if not isinstance(found, Benchmark):
        raise UserError(f"{path}: a function load() that returns a Benchmark is expected")
    _check_problems(path, found)
    return replace(found, own=own)


def _check_problems(path: Path, benchmark: Benchmark) -> None:
    """Raise UserError for problems that cannot be told apart, are no text, or are never tested."""
    if not isinstance(benchmark.problems, tuple) or not benchmark.problems:
        raise UserError(f"{path}: load() gives no problems; Benchmark.problems is a tuple of Problem")
    seen: set[str] = set()
    for number, problem in enumerate(benchmark.problems, 1):
        if not isinstance(problem, Problem):
            raise UserError(f"{path}: problem number {number}: a Problem is expected, found {problem!r:.60}")
        for name in _TEXTS:
            if not isinstance(value := getattr(problem, name), str):
                said = f"{name}: text is expected, found {value!r:.60}"
                raise problem_mistake(path, str(problem.task_id), said)
        if problem.task_id in seen:
            raise problem_mistake(path, problem.task_id, "two problems have this task_id")
        seen.add(problem.task_id)
        if said := benchmark.mistake_in(problem):
            raise problem_mistake(path, problem.task_id, said)
