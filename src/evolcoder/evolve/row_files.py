"""Rows to JSONL as they come, rows gone through again and again, and a trial of writing them."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from evolcoder.data_files import is_streamed
from evolcoder.errors import DataError
from evolcoder.instructions import (
    read_instructions,
    row_from_instruction,
    stream_instructions,
    write_instructions,
)
from evolcoder.records import Instruction
from evolcoder.row_forms import NO_COLUMNS, Columns
from evolcoder.runs import WaitForRoom, writing_whole

_BLOCK_BYTES = 1 << 16


class RowWriter:
    """Appends rows to a JSONL file; a context, at whose end they are written unless it ends by an error."""

    def __init__(self, path: Path, shown: Path | None = None) -> None:
        """Open the file; `shown` is how messages name it."""
        self._file = path.open("wb", buffering=0)
        self._held = bytearray()
        self._wait = WaitForRoom(shown or path)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._file.close()

    def write(self, row: Instruction, **columns: str) -> None:
        """Write one row as `hold` takes it."""
        self.hold(row, **columns)
        if len(self._held) >= _BLOCK_BYTES:
            self.flush()

    def hold(self, row: Instruction, **columns: str) -> None:
        """Take one row with further columns, to be written later; lone surrogates become "?"."""
        import orjson

        flat = {**row_from_instruction(row), **columns}
        try:
            line = orjson.dumps(flat)
        except TypeError:  # orjson takes no lone surrogates and no numbers above 64 bits
            line = json.dumps(flat, ensure_ascii=False).encode("utf-8", "replace")
        self._held += line + b"\n"

    def flush(self) -> None:
        """Write what is held; what the disk does not take stays held."""
        while self._held:
            del self._held[: self._file.write(self._held)]

    async def written(self, *, whole: bool = False) -> None:
        """Write what is held where it is much, or `whole`; on a full disk wait for room and let others work.

        Raises OutsideError where there is none after a while.
        """
        while len(self._held) >= (1 if whole else _BLOCK_BYTES):
            try:
                self.flush()
            except OSError as error:
                await asyncio.sleep(self._wait.seconds_after(error))
            else:
                self._wait.over()


async def write_when_there_is_room(path: Path, write: Callable[[], object]) -> None:
    """Call `write`, which writes the file, in a thread; on a full disk again and again for a while.

    Raises OutsideError where that does not help.
    """
    wait = WaitForRoom(path)
    while True:
        try:
            await asyncio.to_thread(write)
        except OSError as error:
            await asyncio.sleep(wait.seconds_after(error))
        else:
            wait.over()
            return


def write_rows_whole(path: Path, rows: Iterable[Instruction]) -> int:
    """Write rows as JSONL, whole or not at all, and return their number."""
    count = 0
    with writing_whole(path) as partial, RowWriter(partial) as writer:
        for row in rows:
            writer.write(row)
            count += 1
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
    """Write rows on trial as at the end; raises DataError where it cannot be, before anything is paid."""
    if path.is_dir():
        raise DataError(f"{path}: a folder stands where the data set will be written; move it away")
    all_texts = True
    try:
        with RowWriter(Path(os.devnull)) as writer:
            for row in rows:
                all_texts = all_texts and all(type(value) is str for value in row.extra.values())
                writer.write(row)
        if not all_texts:  # what is text, as evolcoder's own columns of a seed are, fits Parquet
            path.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".trial-", dir=path.parent) as folder:
                write_instructions(Path(folder) / "rows.parquet", rows)
    except (TypeError, ValueError, OverflowError, subprocess.CalledProcessError) as error:
        raise DataError(f"{path}: the seeds cannot be written beside evolved rows ({error})") from error


_ROWS_A_BLOCK = 64


class PackedRows(Collection[Instruction]):
    """Rows that cannot be changed, in blocks: 20,000 of Code Alpaca take 3 MB instead of some 25."""

    def __init__(self, rows: Iterable[Instruction]) -> None:
        self._blocks: list[bytes] = []
        self._length = 0
        iterator = iter(rows)
        while block := list(islice(iterator, _ROWS_A_BLOCK)):
            # Pickle, as columns of Parquet files may hold dates and the like; the bytes stay in the process.
            self._blocks.append(zlib.compress(pickle.dumps(block, protocol=5), 1))
            self._length += len(block)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Instruction]:
        for block in self._blocks:
            yield from pickle.loads(zlib.decompress(block))

    def __contains__(self, row: object) -> bool:
        return any(row == own for own in self)
