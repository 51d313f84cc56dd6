"""MultiPL-E's own files, as rows that `sample_files` reads: one JSON or YAML object a problem, or JSON lines.

| file or row | read as |
|---|---|
| `NAME.results.json(.gz)`, `.results.yaml`: `results` of `program` and `status` | whole programs |
| `NAME.json(.gz)`: `prompt`, `completions`, `tests` | prompt + completion + newline + tests, the file's |
| JSON lines with `name` (or `task_id`) and `program` | a whole program |
| JSON lines with `name` (or `task_id`) and `completion` or `completions` | continuations of our prompt |
| JSON lines with `generation` (DeepSeek-Coder's harness), the prompt in it | it + newline + tests |
| one JSON list of lists (bigcode-evaluation-harness): such texts by problem, in our order | the same |

Where a problem has both kinds of file in a folder, its results are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evolcoder.data_files import open_unpacked
from evolcoder.errors import DataError
from evolcoder.records import Problem
from evolcoder.runs import read_jsonl, read_unpacked

Row = dict[str, Any]
Find = Callable[[str], Problem | None]
_ENDINGS = (".json", ".json.gz", ".yaml", ".yaml.gz", ".yml")
_RESULTS = ".results."
OWN = "own_verdicts"
"""Field of the rows given: pass or fail as the file itself says, None where it does not."""


def own_files(path: Path, problems: Sequence[Problem], find: Find) -> list[Path]:
    """Return the files that are of a form described above, those of a problem each before JSON lines."""
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    files = [file for file in found if file.name.endswith(_ENDINGS)]
    with_results = {_problem_name(file) for file in files if _RESULTS in file.name}
    files = [file for file in files if _RESULTS in file.name or _problem_name(file) not in with_results]
    lines = [file for file in found if path.is_file() or ".jsonl" in file.name]
    own = ([file for file in some if _is_own(file, problems, find)] for some in (files, lines))
    return next(filter(None, own), [])


def _is_own(file: Path, problems: Sequence[Problem], find: Find) -> bool:
    """Whether the first row is of such a form; `sample_rows` reads the others."""
    if ".yaml" in file.name or file.suffix == ".yml":
        return True
    try:
        _, row = next(multipl_e_rows(file, problems, find), (0, {}))
    except DataError:
        return False
    return "task_id" in row and ("solution" in row or "completion" in row)


def multipl_e_rows(file: Path, problems: Sequence[Problem], find: Find) -> Iterator[tuple[int, Row]]:
    """Yield (line, row) of a file in the form of `sample_files`; raises DataError for what cannot be read."""
    if not file.name.endswith(_ENDINGS):
        yield from ((number, _row(row, find)) for number, row in read_jsonl(file, open_unpacked))
        return
    value = _loaded(file)
    if isinstance(value, dict):
        yield 1, _row(value, find)
    elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
        yield from ((number, _row(row, find)) for number, row in enumerate(value, 1))
    elif isinstance(value, list) and all(isinstance(item, list) for item in value):
        yield from _generations(file, value, problems)
    else:
        raise DataError(
            f"{file}: {type(value).__name__} found; an object with results or completions is expected"
        )


def own_verdicts(path: Path, find: Find) -> dict[str, list[bool]]:
    """Return what files say themselves of their samples, by task id; {} where a sample has no word."""
    verdicts: dict[str, list[bool]] = {}
    for file in own_files(path, (), find):
        for _, row in multipl_e_rows(file, (), find):
            own = row.get(OWN)
            if not own or None in own or "task_id" not in row:
                return {}
            verdicts.setdefault(str(row["task_id"]), []).extend(own)
    return verdicts


def _problem_name(file: Path) -> str:
    return file.name.split(_RESULTS)[0] if _RESULTS in file.name else file.name.rsplit(".json")[0]


def _loaded(file: Path) -> Any:
    try:
        data = read_unpacked(file)
        if ".json" in file.name:
            return json.loads(data)
        import yaml

        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    except Exception as error:  # PyYAML's errors have no common base that is typed
        raise DataError(f"{file}: no YAML ({error})") from error


def _row(row: Row, find: Find) -> Row:
    """Return one row with `task_id` and `solution` or `completion` in place of MultiPL-E's fields."""
    task = {"task_id": row["name"]} if "name" in row and "task_id" not in row else {}
    results, completions = row.get("results"), row.get("completions", row.get("completion"))
    own = [_passed(row)]
    found: Row
    if isinstance(results, list) and results and all(isinstance(r, dict) and "program" in r for r in results):
        found = {"solution": [r["program"] for r in results]}
        own = [_passed(r) for r in results]
    elif "program" in row or "test_code" in row:
        found = {"solution": row.get("program", row.get("test_code"))}
    elif "generation" in row:
        found = {"solution": _between("", row["generation"], _tests(row, find))}
    elif isinstance(row.get("prompt"), str) and isinstance(row.get("tests"), str) and "completions" in row:
        found = {"solution": _between(row["prompt"], completions, row["tests"])}
    elif completions is not None:
        found = {"completion": completions}
    else:
        return {**row, **task}
    (texts,) = found.values()
    of_each = own * len(texts) if isinstance(texts, list) and len(own) == 1 else own
    return {**row, **task, **found, OWN: of_each}


def _between(prompt: str, texts: Any, tests: str) -> list[Any]:
    """Return each text between a prompt and tests; what is no text stays as it is."""
    listed = texts if isinstance(texts, list) else [texts]
    return [f"{prompt}{text}\n{tests}" if isinstance(text, str) else text for text in listed]


def _tests(row: Row, find: Find) -> str:
    """Return the tests that a row carries, else those of its problem."""
    own = next((row[name] for name in ("tests", "test") if isinstance(row.get(name), str)), None)
    problem = find(str(row.get("task_id", row.get("name"))))
    return own or (problem.tests if problem is not None else "")


def _passed(row: Row) -> bool | None:
    if isinstance(row.get("status"), str):
        return bool(row["status"] == "OK")
    passed = row.get("passed")
    return passed if isinstance(passed, bool) else None


def _generations(file: Path, value: list[Any], problems: Sequence[Problem]) -> Iterator[tuple[int, Row]]:
    if len(value) != len(problems):
        raise DataError(
            f"{file}: {len(value)} lists of texts; one for each of the {len(problems)} problems is expected"
        )
    for number, (problem, texts) in enumerate(zip(problems, value, strict=True), 1):
        yield number, {"task_id": problem.task_id, "solution": _between("", texts, problem.tests)}
