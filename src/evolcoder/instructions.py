"""Seeds and data sets: read what others write (`data_files`, `row_forms`); write JSONL and Parquet.

Files that evolcoder wrote carry their lineage and keep it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evolcoder.data_files import ACCEPTED, SUFFIXES, json_value, rows_of_data
from evolcoder.errors import DataError, MissingExtraError, nearest
from evolcoder.parquet_files import write_parquet
from evolcoder.records import Instruction, Lineage
from evolcoder.row_forms import FIELDS_ACCEPTED, LINEAGE_FIELDS, NO_COLUMNS, Columns, plain_rows
from evolcoder.runs import bad_rows_message, content_hash, write_jsonl_whole

SHIPPED_SEEDS = "shipped"
"""The source name of the 120 seed instructions on programming in the package."""
SHIPPED_MATH_SEEDS = "shipped:math"
"""The source name of the 40 problems of mathematics in the package."""
_SHIPPED = {
    SHIPPED_SEEDS: "seeds.jsonl",
    SHIPPED_MATH_SEEDS: "math.jsonl",
    "shipped:general": "general.jsonl",
}
"""The files of seeds in the package, by source name."""
_MOST_BAD_ROWS = 1000


def read_instructions(source: str | Path, columns: Columns = NO_COLUMNS) -> list[Instruction]:
    """Read a data set by path, by "shipped", "shipped:math" or "shipped:general", or by Hugging Face name.

    Such a name is "owner/name" or "owner/name:split".
    `columns` says how the file names what: {"instruction": "Aufgabe"}. Rows with one id and different text
    get ids of their own. Raises DataError that names the file and every bad row (the first ten in full).
    """
    return list(stream_instructions(source, columns))


def stream_instructions(source: str | Path, columns: Columns = NO_COLUMNS) -> Iterator[Instruction]:
    """Yield the rows of a data set; bad ones are reported together at its end, as by `read_instructions`."""
    text = str(source)
    path = shipped_path(_SHIPPED[text]) if text in _SHIPPED else Path(text)
    if path.exists():
        rows = rows_of_data(path)
    elif _is_hub_name(text):
        rows = _hub_rows(text)
    else:
        raise DataError(f"{text}: no such file{nearest(text, _SHIPPED)}")
    count = 0
    bad: list[str] = []
    unreadable = ""
    met: dict[int, int] = {}
    try:
        for where, row in rows:
            try:
                found = instructions_from_row(row, columns)
            except ValueError as error:
                bad.append(f"{where}: {error}")
                if len(bad) >= _MOST_BAD_ROWS:
                    break
            else:
                for instruction in found:
                    count += 1
                    yield _apart(instruction, met) if row.get("id") else instruction
    except DataError as error:
        if not bad:
            raise
        unreadable = str(error)
    accepted = f"; {FIELDS_ACCEPTED}" if any(" is missing (found: " in reason for reason in bad) else ""
    if unreadable:
        raise DataError(f"{unreadable}; {'; '.join(bad[:10])}{accepted}")
    if bad:
        raise DataError(bad_rows_message(path, bad) + accepted)
    if count == 0:
        raise DataError(f"{text}: no rows; at least one instruction is expected; {ACCEPTED}")


def with_ids_apart(rows: Iterable[Instruction]) -> Iterator[Instruction]:
    """Yield rows; one with the id of an earlier row and different text gets an id of its own."""
    met: dict[int, int] = {}
    return (_apart(row, met) for row in rows)


def _apart(row: Instruction, met: dict[int, int]) -> Instruction:
    text = hash((row.instruction, row.input))
    if met.setdefault(hash(row.id), text) == text:
        return row
    id_ = content_hash(row.id, row.instruction, row.input)[:16]
    seed_id = id_ if row.lineage.seed_id == row.id else row.lineage.seed_id
    return replace(row, id=id_, lineage=replace(row.lineage, seed_id=seed_id))


def _is_hub_name(text: str) -> bool:
    named = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(:.+)?", text)
    return named is not None and not text.lower().endswith(SUFFIXES)


def shipped_path(name: str) -> Path:
    """Return the path of a file of instructions that the package ships."""
    return Path(str(resources.files("evolcoder") / "seeds" / name))


def instruction_from_row(row: Mapping[str, Any]) -> Instruction:
    """Make the `Instruction` of one outside row; raises ValueError as `instructions_from_row`."""
    found = instructions_from_row(row)
    if len(found) != 1:
        raise ValueError(f"one instruction is expected, found {len(found)}")
    return found[0]


def instructions_from_row(row: Mapping[str, Any], columns: Columns = NO_COLUMNS) -> list[Instruction]:
    """Make the instructions of an outside row, or several of distilabel's; raises ValueError."""
    return [_instruction(plain) for plain in plain_rows(row, columns)]


def _instruction(row: Mapping[str, Any]) -> Instruction:
    if not row["instruction"].strip():
        raise ValueError("field 'instruction' is empty")
    id_ = str(row.get("id") or content_hash(row["instruction"], row["input"])[:16])
    round_number, foreign_round = _round_of(row.get("round"))
    lineage = Lineage(
        seed_id=str(row.get("seed_id") or id_),
        parent_id=_text_or_none(row.get("parent_id")),
        round=round_number,
        method=_text_or_none(row.get("method")),
        teacher=_text_or_none(row.get("teacher")),
    )
    known = ("id", "instruction", "input", "response", *LINEAGE_FIELDS)
    extra = {key: value for key, value in row.items() if key not in known}
    if foreign_round is not None:
        extra["original_round"] = foreign_round
    return Instruction(id_, row["instruction"], row["input"], row["response"], lineage, extra)


def _round_of(value: Any) -> tuple[int, Any]:
    """Return (round of evolution, None), or (0, value) where the column counts something else."""
    try:
        return int(value or 0), None
    except (TypeError, ValueError, OverflowError):
        return 0, value


def _text_or_none(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def row_from_instruction(row: Instruction) -> dict[str, Any]:
    """Return the flat row of data files: text fields, lineage, extra columns as `json_value` has them."""
    return {
        "id": row.id,
        "instruction": row.instruction,
        "input": row.input,
        "response": row.response,
        **{name: getattr(row.lineage, name) for name in LINEAGE_FIELDS},
        **{name: json_value(value) for name, value in row.extra.items()},
    }


def write_instructions(path: str | Path, rows: Iterable[Instruction]) -> int:
    """Write rows whole as JSONL, or Parquet with nested and mixed columns as JSON text; return the count."""
    path = Path(path)
    flat = (row_from_instruction(row) for row in rows)
    if path.suffix != ".parquet":
        return write_jsonl_whole(path, flat)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".parquet-", dir=path.parent) as folder:
        lines = Path(folder) / "rows.jsonl"
        count = write_jsonl_whole(lines, flat)
        write_parquet(lines, path)
    return count


def _hub_rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows of a Hugging Face data set; needs the `datasets` package and the hub or its cache."""
    try:
        import datasets
    except ImportError as error:
        if os.environ.get("HF_HUB_OFFLINE"):
            raise DataError(f"{name}: no such file") from error
        raise MissingExtraError(f"reading the Hugging Face data set {name!r}", "hub") from error
    repository, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(repository, split=split or "train")
    except Exception as error:  # the library raises many kinds, all of them the user's name or the network
        raise DataError(f"{name}: neither a file nor a Hugging Face data set that loads ({error})") from error
    for number, row in enumerate(rows, 1):
        yield f"row {number}", dict(row)
