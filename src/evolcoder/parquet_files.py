"""Parquet files: plain rows in, and JSON lines to Parquet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.runs import MOST_ROW_BYTES, check_unpacked, writing_whole

_READ_ROWS = 256
_BATCH_ROWS = 1000


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file; values are Python's: Decimal, bytes, timedelta, lists, dicts.

    Raises DataError for a file that is damaged, unpacks to far more than it is, or has a row over 64 MB.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = size = 0
    packed = path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            groups = file.metadata
            whole = sum(groups.row_group(at).total_byte_size for at in range(groups.num_row_groups))
            check_unpacked(path, packed, whole)
            rows_at_once = max(1, min(_READ_ROWS, MOST_ROW_BYTES * groups.num_rows // max(whole, 1)))
            for batch in file.iter_batches(rows_at_once):
                columns = [_plain_column(column) for column in batch.columns]
                n_bytes = sum(column.nbytes for column in columns)
                size += n_bytes
                check_unpacked(path, packed, size)
                if n_bytes > MOST_ROW_BYTES:
                    _check_each_row(path, columns, number)
                for values in zip(*(column.to_pylist() for column in columns), strict=True):
                    yield dict(zip(batch.schema.names, values, strict=True))
                number += batch.num_rows
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read, not a Parquet file ({error})") from error


def _check_each_row(path: Path, columns: Sequence[Any], before: int) -> None:
    for at in range(len(columns[0])):
        if sum(column.slice(at, 1).nbytes for column in columns) > MOST_ROW_BYTES:
            raise DataError(f"{path}: row {before + at + 1}: over {MOST_ROW_BYTES >> 20} MB long")


def _plain_column(column: Any) -> Any:
    """Write a dictionary's values out, and cut times to microseconds: finer ones would need pandas."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.dictionary_decode()
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column


def write_parquet(jsonl: Path, parquet: Path) -> None:
    """Write the rows of a JSONL file as Parquet, whole or not at all, with the columns of all rows.

    In a process of its own unless pyarrow is loaded anyway: it would add 60 MB to a run that needs 90.
    """
    if "pyarrow" in sys.modules:
        _convert(jsonl, parquet)
    else:
        done = subprocess.run([sys.executable, "-m", __name__, str(jsonl), str(parquet)])
        if done.returncode > 1:  # what the disk said
            raise OSError(done.returncode, os.strerror(done.returncode), str(parquet))
        done.check_returncode()


class _WithoutPandas:
    """Finds no pandas: pyarrow imports it where it is installed, for 40 MB and a third of a second."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ImportError("not needed here")


def _convert(jsonl: Path, parquet: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = _column_kinds(jsonl)
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in kinds.items()])
    with (
        jsonl.open("rb") as lines,
        writing_whole(parquet) as partial,
        pq.ParquetWriter(partial, schema) as writer,
    ):
        while batch := list(islice(lines, _BATCH_ROWS)):
            rows = [_as_kinds(json.loads(line), kinds) for line in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


_KNOWN_KINDS = {
    **dict.fromkeys(("id", "instruction", "input", "response", "seed_id", "parent_id"), "string"),
    "round": "int64",
    **dict.fromkeys(("method", "teacher"), "string"),
}
"""Columns that every file has, an empty one too, with their Arrow types."""
_COUNTS = {"requests": "int64", "prompt_tokens": "int64", "completion_tokens": "int64", "cost_usd": "float64"}
"""Columns of evolved rows whose values may be null or whole by chance."""
_ARROW_KINDS = {bool: "bool_", int: "int64", float: "float64", str: "string"}


def _column_kinds(jsonl: Path) -> dict[str, str]:
    """Return each column's Arrow type over all rows: of mixed numbers a fraction, else of mixed ones text."""
    met: dict[str, set[str]] = {name: {kind} for name, kind in _KNOWN_KINDS.items()}
    with jsonl.open("rb") as lines:
        for line in lines:
            for name, value in json.loads(line).items():
                if name not in _KNOWN_KINDS and value is not None:
                    big = type(value) is int and not -(2**63) <= value < 2**63
                    kind = "string" if big else _ARROW_KINDS.get(type(value), "string")
                    met.setdefault(name, set()).add(kind)
                else:
                    met.setdefault(name, set())
    return {name: _one_kind(name, kinds) for name, kinds in met.items()}


def _one_kind(name: str, kinds: set[str]) -> str:
    if name in _COUNTS and kinds <= {"int64", "float64"}:
        return _COUNTS[name]
    if kinds == {"int64", "float64"}:
        return "float64"
    return next(iter(kinds)) if len(kinds) == 1 else "string"


def _as_kinds(row: dict[str, Any], kinds: dict[str, str]) -> dict[str, Any]:
    """Return a row whose values fit their columns: a number or list in a text column becomes JSON."""
    return {
        name: json.dumps(value, sort_keys=True)
        if kinds[name] == "string" and value is not None and not isinstance(value, str)
        else value
        for name, value in row.items()
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas())
    try:
        _convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except OSError as error:
        sys.exit(error.errno or 1)
