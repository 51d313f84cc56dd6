"""Rows to JSONL as they come, and JSONL to Parquet afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.instructions import instruction_from_row, read_instructions, row_from_instruction
from evolcoder.records import Instruction
from evolcoder.runs import read_jsonl, writing_whole

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


def write_merged(path: Path, seeds: Iterable[Instruction], rounds: Iterable[Path]) -> None:
    """Write a training set as JSONL, whole or not at all: the seeds, then the rows that each round kept."""
    with writing_whole(path) as partial:
        writer = RowWriter(partial)
        try:
            for seed in seeds:
                writer.write(seed)
        finally:
            writer.close()
        with partial.open("ab") as merged:
            for folder in rounds:
                with (folder / "evolved.jsonl").open("rb") as rows:
                    shutil.copyfileobj(rows, merged, 1 << 16)


class RowFile:
    """Rows of a data file that can be gone through again and again; JSONL is not held in memory."""

    def __init__(self, source: str | Path) -> None:
        path = Path(source)
        self._path = path
        streams = path.exists() and path.name.removesuffix(".gz").endswith(".jsonl")
        self._rows = None if streams else read_instructions(source)

    def __iter__(self) -> Iterator[Instruction]:
        if self._rows is not None:
            yield from self._rows
            return
        for number, row in read_jsonl(self._path):
            try:
                yield instruction_from_row(row)
            except ValueError as error:
                raise DataError(f"{self._path}: line {number}: {error}") from error


def write_parquet(jsonl: Path, parquet: Path) -> None:
    """Write the rows of a JSONL file as Parquet, whole or not at all.

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

    with jsonl.open("rb") as lines, writing_whole(parquet) as partial:
        schema, writer = None, None
        try:
            while batch := list(islice(lines, _BATCH_ROWS)):
                rows = [_flat(json.loads(line)) for line in batch]
                if writer is None or schema is None:
                    schema = pa.schema(_fields(rows[0], pa))
                    writer = pq.ParquetWriter(partial, schema)
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            if writer is None:
                writer = pq.ParquetWriter(partial, pa.schema(_fields({}, pa)))
        finally:
            if writer is not None:
                writer.close()


_TYPES = {
    "round": "int64",
    "requests": "int64",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
    "cost_usd": "float64",
}
_COLUMNS = ("id", "instruction", "input", "response", "seed_id", "parent_id", "round", "method", "teacher")
"""What every file has, an empty one too."""


def _fields(row: dict[str, Any], pa: Any) -> list[Any]:
    """Return the columns of the files, known ones with their type, others by the first row's value."""
    kinds: dict[type, str] = {bool: "bool", int: "int64", float: "float64"}
    names = dict.fromkeys((*_COLUMNS, *row))
    return [
        (name, getattr(pa, _arrow(_TYPES.get(name) or kinds.get(type(row.get(name)), "string")))())
        for name in names
    ]


def _arrow(kind: str) -> str:
    return {"bool": "bool_"}.get(kind, kind)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Nested values become JSON text."""
    return {k: json.dumps(v, sort_keys=True) if isinstance(v, (dict, list)) else v for k, v in row.items()}


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas())  # type: ignore[arg-type]
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
