"""The journal's file: one SQLite database that is evolcoder's, whole, and written by one process.

Opening refuses what is not that, with what to do; nothing is ever overwritten to make it fit.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from evolcoder.errors import EvolcoderError, JournalError, JournalWriteError
from evolcoder.runs import take_lock

APPLICATION_ID = 0x45564F4C
""""EVOL": marks a SQLite file as a journal of evolcoder."""
SCHEMA_VERSION = 1
_SQLITE_MAGIC = b"SQLite format 3\x00"
# A whole check reads the whole file: about 0.3 s for this size. Beyond it each reply's own checksum,
# verified when it is read, has to do.
_QUICK_CHECK_BYTES = 64 << 20

SCHEMA = """
CREATE TABLE replies (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    model TEXT NOT NULL,
    text BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost_usd REAL,
    seconds REAL NOT NULL,
    written_at REAL NOT NULL
);
CREATE TABLE counts (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    base_url TEXT NOT NULL,
    marker TEXT NOT NULL UNIQUE,
    batch_id TEXT,
    state TEXT NOT NULL,
    n_requests INTEGER NOT NULL,
    written_at REAL NOT NULL
);
"""

_REASONING = "CREATE TABLE IF NOT EXISTS reasoning (key BLOB PRIMARY KEY, text BLOB NOT NULL) WITHOUT ROWID"
"""What a model thought before a reply, where it told; journals of 0.1.0 have no such table."""
_BATCH_MODELS = (
    "CREATE TABLE IF NOT EXISTS batch_models (marker TEXT PRIMARY KEY, model TEXT NOT NULL,"
    " asked_as TEXT NOT NULL) WITHOUT ROWID"
)
"""Which model a batch asked, and on whose account; journals of 0.2.0 have no such table."""


def lock_for_writing(path: Path) -> int:
    """Take the write lock of a journal, a descriptor; raises JournalError where another process holds it."""
    path = path.resolve()  # by whatever name it is known
    # A file of its own: closing any descriptor of the database would drop SQLite's own locks on it.
    try:
        return take_lock(path.with_name(f".{path.name}.lock"))
    except BlockingIOError as error:
        raise JournalError(
            f"{path}: another evolcoder ({error.strerror}) writes this journal; "
            "wait for it to end, or name another folder"
        ) from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open or create a journal for its one writer; every commit is on the disk when it returns.

    Raises JournalError for a file that is no journal, damaged, or of a newer evolcoder, JournalWriteError
    where the disk takes nothing.
    """
    check_file(path)
    # Autocommit mode, transactions are begun by hand; one thread uses it at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        _identify(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -4096")
        connection.execute("PRAGMA temp_store = MEMORY")
        if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        connection.execute(_REASONING)
        connection.execute(_BATCH_MODELS)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise damaged(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a journal to read, also while its writer runs; raises JournalError for one missing or unsound."""
    if not path.exists():
        raise JournalError(f"{path}: no journal there")
    check_file(path)
    how = "mode=ro"
    log = path.with_name(f"{path.name}-wal")
    if not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
        how = "immutable=1"  # SQLite would write an index beside its log, of which there is none
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        _identify(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise damaged(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def check_file(path: Path) -> None:
    """Refuse, before SQLite touches it, a file that cannot be a journal or lacks its end."""
    if path.is_dir():
        raise JournalError(f"{path}: a folder; the journal is a file in the run's folder")
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as f:
        head = f.read(100)
    if not head.startswith(_SQLITE_MAGIC):
        raise JournalError(
            f"{path}: not a journal of evolcoder (it does not begin as a SQLite file); "
            "move it away, or name another folder"
        )


_OF_THE_DISK = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def damaged(path: Path, error: Exception) -> EvolcoderError:
    """Return the error that says what to do about a damaged journal, or a sound one on a disk that fails."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_DISK:
        return JournalWriteError(
            f"{path}: the disk does not let the journal be opened ({error}); is it full, or read-only? What "
            "the journal holds is safe, the same command continues"
        )
    return JournalError(
        f"{path}: the journal is damaged ({error}); `evolcoder journal {path} --repair` keeps every reply "
        "that can still be read, and the run then continues"
    )


def _identify(connection: sqlite3.Connection, path: Path) -> None:
    """Raise JournalError unless the open file is empty or a sound journal of this schema."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if application == 0 and version == 0 and not tables:
        return
    if application != APPLICATION_ID:
        found = ", ".join(sorted(tables)[:4])
        raise JournalError(
            f"{path}: a SQLite file of another program (tables: {found}), not a journal of evolcoder; "
            "move it away, or name another folder"
        )
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"{path}: journal of format {version}, this evolcoder knows format {SCHEMA_VERSION}; "
            "use the evolcoder that wrote it, or name another folder"
        )
    missing = {"replies", "counts", "batches"} - tables
    if missing:
        raise damaged(path, ValueError(f"table {sorted(missing)[0]} is missing"))
    if path.stat().st_size <= _QUICK_CHECK_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise damaged(path, ValueError(" ".join(str(found).split())))
