"""Data files as plain rows, read by what they hold: JSON lines, a JSON list, CSV, TSV, Parquet.

Text may be packed by gzip or zstd. A folder is read where it holds a data set as `data export --to hub` or
`evolve` writes it.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal

from evolcoder.errors import DataError
from evolcoder.parquet_files import parquet_rows
from evolcoder.runs import MOST_ROW_BYTES, bounded_lines, open_unpacked, read_jsonl, read_unpacked

Row = dict[str, Any]
ACCEPTED = "accepted: JSON lines, a JSON list, CSV, TSV, Parquet (text also as .gz or .zst)"
"""Said where a file is none of them."""
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".txt")
"""What names of data files end in; a name that ends otherwise may be one of the hub."""
_HEAD_BYTES = 1 << 16
_LONE_CR = re.compile(r"(?<=\r)(?![\r\n]|$)")
"""Where a line of an old Mac ends, and of some spreadsheets still."""


def rows_of_data(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield (where, row) of a data file or folder; raises DataError, which names the file and the place."""
    if not path.is_dir():
        yield from _rows_of_file(path)
        return
    for file in _files_of_folder(path):
        for where, row in _rows_of_file(file):
            yield f"{file.relative_to(path).as_posix()} {where}", row


def is_streamed(path: Path) -> bool:
    """Whether the rows of an existing file or folder come one by one, not as one value held in memory."""
    return path.is_dir() or _form_of(path) != "list"


def _files_of_folder(folder: Path) -> list[Path]:
    for pattern in ("data/train*.parquet", "train*.parquet", "dataset.jsonl"):
        if found := sorted(file for file in folder.glob(pattern) if file.is_file()):
            return found
    raise DataError(f"{folder}: a file is expected, found a folder without data/train.parquet; {ACCEPTED}")


def _rows_of_file(path: Path) -> Iterator[tuple[str, Row]]:
    form = _form_of(path)
    if form == "parquet":
        yield from ((f"row {number}", row) for number, row in enumerate(parquet_rows(path), 1))
    elif form == "separated":
        yield from _separated_rows(path)
    elif form == "list":
        yield from _list_rows(path)
    else:
        yield from ((f"line {number}", row) for number, row in read_jsonl(path))


def _form_of(path: Path) -> Literal["parquet", "separated", "list", "lines"]:
    name = _unpacked_name(path)
    try:
        with open_unpacked(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if head.startswith(b"PAR1"):
        return "parquet"
    if name.endswith(".parquet"):
        raise DataError(f"{path}: not a Parquet file; {ACCEPTED}")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    first, end, _ = text.partition(b"\n")
    if text.startswith(b"{") and text.strip() != b"{}" and (not end or is_json(first)):
        return "lines"
    if name.endswith((".csv", ".tsv")):
        return "separated"
    if text.startswith(b"[") and (text[1:].lstrip()[:1] in b"{]" or not name.endswith((".jsonl", ".ndjson"))):
        return "list"
    if name.endswith(".json"):
        return "list"
    if text.startswith(b"{") or not text or name.endswith((".jsonl", ".ndjson")):
        return "lines"
    raise DataError(f"{path}: not a data file; {ACCEPTED}")


def _unpacked_name(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").removesuffix(".zst")


def is_json(line: bytes) -> bool:
    """Whether a line is one JSON value."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _list_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        rows = json.loads(read_unpacked(path).decode("utf-8-sig"))
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not UTF-8 JSON ({error}); {ACCEPTED}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: a list of objects is expected, found {type(rows).__name__}; {ACCEPTED}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: item {number}: an object is expected, found {type(row).__name__}")
        yield f"item {number}", row


def _separated_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of CSV or TSV: a line of names, then values, quoted where they hold line ends."""
    # Python takes 128 KB a field unless told; the limit is the interpreter's, and only ever raised here.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_ROW_BYTES))
    try:
        with open_unpacked(path) as stream:
            lines = _text_lines(path, stream)
            header = next(lines, "")
            delimiter = "\t" if _unpacked_name(path).endswith(".tsv") else max(",;\t", key=header.count)
            reader = csv.DictReader(chain([header], lines), delimiter=delimiter, strict=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            for row in reader:
                if None in row:
                    at = reader.line_num
                    raise DataError(f"{path}: line {at}: more than the {len(row) - 1} fields of line 1")
                # An index that pandas wrote has no name.
                yield f"line {reader.line_num}", {name: value for name, value in row.items() if name}
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: not CSV or TSV that can be read ({error}); {ACCEPTED}") from error


def _text_lines(path: Path, stream: IO[bytes]) -> Iterator[str]:
    for number, line in bounded_lines(path, stream):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            where = f"{error.reason} at byte {error.start}"
            raise DataError(f"{path}: line {number}: not UTF-8 ({where})") from error
        yield from _LONE_CR.split(text) if "\r" in text[:-2] else (text,)


def json_value(value: Any) -> Any:
    """Return a value as JSON: decimals, dates as text, bytes as base64, durations in seconds, nan as null."""
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): json_value(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(part) for part in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy's, as data sets of the hub hold them
        return json_value(value.tolist())
    return str(value)
