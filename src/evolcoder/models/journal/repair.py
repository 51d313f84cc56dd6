"""Saves what can be read from a damaged journal into a fresh one; the damaged file is kept beside it.

And gives up batches that can no longer be collected.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from evolcoder.errors import JournalError
from evolcoder.models.journal.database import check_file, lock_for_writing, open_for_writing
from evolcoder.models.journal.totals import ADD_TO_COUNT, BATCH_USD, UNDER_WAY, Batch, open_batches_in

_COLUMNS = (
    "id, key, model, text, checksum, finish_reason, prompt_tokens, completion_tokens, cost_usd, seconds,"
    " written_at"
)
_COUNT_OF = "SELECT coalesce(sum(value), 0) FROM counts WHERE name = ?"


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair saved."""

    saved: int
    """Replies that are in the new journal."""
    lost: int
    """Replies that were seen and could not be read or differed from their checksum."""
    kept_as: Path
    """Where the damaged file went."""


def repair_journal(path: Path) -> Repair:
    """Copy every sound reply to a new journal at the path; raises JournalError if no SQLite, or in use."""
    if not path.exists():
        raise JournalError(f"{path}: no journal there")
    check_file(path)
    lock = lock_for_writing(path)
    try:
        fresh_path = path.with_name(f".{path.name}.repaired")
        for leftover in (fresh_path, *_companions(fresh_path)):
            leftover.unlink(missing_ok=True)
        fresh = open_for_writing(fresh_path)
        old = sqlite3.connect(path, isolation_level=None)
        try:
            saved, lost = _copy(old, fresh)
            fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            old.close()
            fresh.close()
        kept_as, number = path.with_name(f"{path.name}.damaged"), count(2)
        while kept_as.exists():  # of an earlier repair
            kept_as = path.with_name(f"{path.name}.damaged-{next(number)}")
        for file, beside in zip(_companions(path), _companions(kept_as), strict=True):
            with suppress(FileNotFoundError):  # what is damaged may be the part that its log has whole
                file.rename(beside)
        path.rename(kept_as)
        fresh_path.replace(path)
        return Repair(saved, lost, kept_as)
    finally:
        os.close(lock)


def drop_open_batches(path: Path) -> list[Batch]:
    """Give up the batches whose answers are not in a journal yet, count what they may cost, and return them.

    Raises JournalError where there is no journal, or a run writes it.
    """
    if not path.exists():
        raise JournalError(f"{path}: no journal there")
    lock = lock_for_writing(path)
    try:
        with closing(open_for_writing(path)) as connection:
            dropped = open_batches_in(connection)
            names = [f"{BATCH_USD}{batch.marker}" for batch in dropped]
            usd = sum(connection.execute(_COUNT_OF, (name,)).fetchone()[0] for name in names)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"UPDATE batches SET state = 'dropped' WHERE state IN {UNDER_WAY}")
            connection.executemany("DELETE FROM counts WHERE name = ?", [(name,) for name in names])
            # They may be billed all the same.
            connection.executemany(ADD_TO_COUNT, [("wasted usd", usd), ("estimated usd", usd)])
            connection.execute("COMMIT")
            return dropped
    finally:
        os.close(lock)


def _copy(old: sqlite3.Connection, fresh: sqlite3.Connection) -> tuple[int, int]:
    saved = lost = 0
    fresh.execute("BEGIN IMMEDIATE")
    for row in _readable_rows(old):
        if row is None or not isinstance(row[3], bytes) or zlib.crc32(row[3]) != row[4]:
            lost += 1
            continue
        marks = ",".join("?" * len(row))
        fresh.execute(f"INSERT OR IGNORE INTO replies ({_COLUMNS}) VALUES ({marks})", row)
        saved += 1
    for table in ("counts", "batches", "batch_models", "reasoning"):
        try:
            rows = old.execute(f"SELECT * FROM {table}").fetchall()
        except sqlite3.DatabaseError:
            continue
        for row in rows:
            fresh.execute(f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)
    fresh.execute("COMMIT")
    return saved, lost


def _readable_rows(old: sqlite3.Connection) -> Iterator[tuple[Any, ...] | None]:
    """Yield each reply's columns, or None for one that cannot be read; goes on behind a damaged page."""
    last = _last_id(old)
    position = 0
    step = 256
    while position < last:
        try:
            rows = old.execute(
                f"SELECT {_COLUMNS} FROM replies WHERE id > ? AND id <= ? ORDER BY id",
                (position, position + step),
            ).fetchall()
        except sqlite3.DatabaseError:
            if step > 1:
                step = 1  # one by one through the damaged stretch
                continue
            yield None
            position += 1
            continue
        yield from rows
        position += step
        step = min(256, step * 2)


def _last_id(old: sqlite3.Connection) -> int:
    """Return the highest id, or a safe guess above it where even that cannot be read."""
    asked = ("SELECT max(id) FROM replies", 1), ("SELECT count(*) FROM replies", 1), ("PRAGMA page_count", 64)
    for question, times in asked:
        with suppress(sqlite3.DatabaseError):
            return int(old.execute(question).fetchone()[0] or 0) * times
    return 0


def _companions(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
