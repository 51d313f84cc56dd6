"""Any file of instructions as a benchmark that a model judges: `--benchmark questions.jsonl`.

A row is what data sets hold (docs/formats.md). Beside the instruction are read: `turns`, a list of one or two
questions; `reference`, an answer, or one a turn, that the judge is shown; `skill` (or `category`) and
`difficulty`, a number, by which wins are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from evolcoder.data_files import rows_of_data
from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.instructions import shipped_path
from evolcoder.own_files import OwnFile
from evolcoder.records import Problem
from evolcoder.row_forms import plain_rows
from evolcoder.runs import bad_rows_message, file_hash

NAMES = {"general-held-out": NamedSet("general-held-out", 1, 16, size=16, licence="Apache-2.0")}
"""Instructions that come with the package, none of them among its seeds."""
_FILES = {"general-held-out": "general_held_out.jsonl"}
ID_FIELDS = ("task_id", "question_id", "idx", "id")
"""What names a problem, in files of instructions and of answers to them; the first that is there."""
_MOST_TURNS = 2
_MOST_INSTRUCTIONS = 100_000
"""A benchmark is held in memory; a larger file is a data set."""


def instruction_file(name: str) -> Benchmark:
    """Return the benchmark of a file; raises DataError that names the file and every bad row."""
    path = Path(name)
    try:
        stamp = (path.stat().st_mtime_ns, path.stat().st_size)
    except OSError as error:
        raise DataError(f"{name}: no such file") from error
    return _read(path, stamp)


def load(name: str) -> Benchmark:
    """Return the instructions that the package ships under a name."""
    found = instruction_file(str(shipped_path(_FILES[name])))
    return replace(found, name=name, own=None)


@lru_cache(maxsize=8)
def _read(path: Path, stamp: object) -> Benchmark:
    problems: dict[str, Problem] = {}
    bad: list[str] = []
    for number, (where, row) in enumerate(rows_of_data(path), 1):
        if number > _MOST_INSTRUCTIONS:
            raise DataError(
                f"{path}: at most {_MOST_INSTRUCTIONS:,} instructions are expected of a benchmark"
            )
        try:
            problem = _problem(path.name.partition(".")[0], number, row)
            if problem.task_id in problems:
                raise ValueError(f"{problem.task_id} came before")
        except ValueError as error:
            bad.append(f"{where}: {error}")
        else:
            problems[problem.task_id] = problem
    if bad:
        raise DataError(bad_rows_message(path, bad))
    if not problems:
        raise DataError(f"{path}: no instructions in it")
    own = OwnFile(path, file_hash(path))
    return JudgedBenchmark(str(path), "", tuple(problems.values()), own=own)


def _problem(stem: str, number: int, row: Mapping[str, Any]) -> Problem:
    """Return a row as a problem; raises ValueError that says what is wrong with it."""
    turns = _texts(row, "turns")
    if not turns:
        plain, *more = plain_rows(row)
        if more:
            raise ValueError(f"one instruction a row is expected, found {1 + len(more)}")
        asked = f"{plain['instruction']}\n\n{plain['input']}" if plain["input"] else plain["instruction"]
        turns = (asked,)
    if len(turns) > _MOST_TURNS or not all(turn.strip() for turn in turns):
        raise ValueError(f"an instruction, or turns of {_MOST_TURNS} questions, is expected")
    references = _texts(row, "reference")
    if references and len(references) != len(turns):
        raise ValueError(f"reference: {len(turns)} expected, one a turn, found {len(references)}")
    small = {str(key).lower(): value for key, value in row.items()}
    skill = small.get("skill") or small.get("category")
    difficulty: Any = small.get("difficulty")
    is_number = type(difficulty) in (int, float) and abs(difficulty) <= sys.float_info.max  # no NaN
    if difficulty is not None and not is_number:
        raise ValueError(f"difficulty: a number is expected, found {difficulty!r}")
    groups = [str(skill)] if skill else []
    groups += [] if difficulty is None else [f"difficulty {difficulty:g}"]
    named = next((row[key] for key in ID_FIELDS if isinstance(row.get(key), (str, int))), number)
    return Problem(
        task_id=named if isinstance(named, str) and "/" in named else f"{stem}/{named}",
        benchmark=stem,
        prompt=turns[0],
        entry_point="",
        tests="",
        extra={"turns": turns, "references": references, "difficulty": difficulty, "groups": tuple(groups)},
    )


def _texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = row.get(name)
    listed = [value] if isinstance(value, str) else value or []
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise ValueError(f"{name}: text, or a list of texts, is expected")
    return tuple(listed)
