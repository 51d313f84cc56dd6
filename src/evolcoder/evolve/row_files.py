"""Rows to JSONL as they come, and JSONL to Parquet afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evolcoder.data_files import is_streamed
from evolcoder.errors import DataError
from evolcoder.instructions import read_instructions, row_from_instruction, stream_instructions
from evolcoder.records import Instruction
from evolcoder.row_forms import NO_COLUMNS, Columns
from evolcoder.runs import writing_whole

_BATCH_ROWS = 1000


class RowWriter:
    """Appends rows to a JSONL file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=1 << 16)

    def write(self, row: Instruction, **columns: str) -> None:
        """Write one row with further columns; lone surrogates become "?"."""
        import orjson

        flat = {**row_from_instruction(row), **columns}
        try:
            line = orjson.dumps(flat)
        except TypeError:  # orjson takes no lone surrogates and no numbers above 64 bits
            line = json.dumps(flat, ensure_ascii=False).encode("utf-8", "replace")
        self._file.write(line + b"\n")

    def close(self) -> None:
        """Flush and close; may be called twice."""
        self._file.close()


def write_rows_whole(path: Path, rows: Iterable[Instruction]) -> int:
    """Write rows as JSONL, whole or not at all, and return their number."""
    count = 0
    with writing_whole(path) as partial:
        writer = RowWriter(partial)
        try:
            for row in rows:
                writer.write(row)
                count += 1
        finally:
            writer.close()
    return count


class RowFile:
    """Rows of a data set, to be gone through again and again; only a JSON list and the hub's are held."""

    def __init__(self, source: str | Path, columns: Columns = NO_COLUMNS) -> None:
        path = Path(source)
        self._source, self._columns = source, columns
        streams = path.exists() and is_streamed(path)
        self._rows = None if streams else read_instructions(source, columns)

    def __iter__(self) -> Iterator[Instruction]:
        if self._rows is not None:
            return iter(self._rows)
        return stream_instructions(self._source, self._columns)


def try_to_write(path: Path, rows: Iterable[Instruction]) -> None:
    """Write rows as they will be written and exported at the end, under names that are removed again.

    Raises DataError where it cannot be done, so that it is known before anything is paid.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder stands where the data set will be written; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    further_columns = False
    with TemporaryDirectory(prefix=".trial-", dir=path.parent) as folder:
        jsonl = Path(folder) / "rows.jsonl"
        writer = RowWriter(jsonl)
        try:
            for row in rows:
                further_columns = further_columns or bool(row.extra)
                writer.write(row)
            writer.close()
            if further_columns:  # the columns of evolcoder's own have types that fit
                write_parquet(jsonl, jsonl.with_suffix(".parquet"))
        except (TypeError, ValueError, OverflowError, subprocess.CalledProcessError) as error:
            raise DataError(f"{path}: the seeds cannot be written beside evolved rows ({error})") from error
        finally:
            writer.close()


def write_parquet(jsonl: Path, parquet: Path) -> None:
    """Write the rows of a JSONL file as Parquet, whole or not at all, with the columns of all rows.

    In a process of its own unless pyarrow is loaded anyway: it would add 60 MB to a run that needs 90.
    """
    if "pyarrow" in sys.modules:
        _convert(jsonl, parquet)
    else:
        subprocess.run([sys.executable, "-m", __name__, str(jsonl), str(parquet)], check=True)


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
    """Return the Arrow type of each column in all rows: a merged file begins with seeds, which have fewer.

    Whole numbers among fractions are fractions; anything else that is mixed or nested becomes text.
    """
    met: dict[str, set[str]] = {name: {kind} for name, kind in _KNOWN_KINDS.items()}
    with jsonl.open("rb") as lines:
        for line in lines:
            for name, value in json.loads(line).items():
                if name not in _KNOWN_KINDS and value is not None:
                    big = type(value) is int and not -(2**63) <= value < 2**63
                    met.setdefault(name, set()).add(
                        "string" if big else _ARROW_KINDS.get(type(value), "string")
                    )
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
    """Return a row whose values fit their columns: in a text column, what is no text becomes JSON."""
    return {
        name: json.dumps(value, sort_keys=True)
        if kinds[name] == "string" and value is not None and not isinstance(value, str)
        else value
        for name, value in row.items()
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas())
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
