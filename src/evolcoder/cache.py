"""Things that can be made again, kept in one folder, and the content hashes of large files."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from evolcoder.errors import OutsideError
from evolcoder.runs import content_hash, file_hash, write_text_whole

_WORTH_KEEPING = 1 << 20
"""Bytes below which a file is hashed each time: that costs less than looking its hash up."""
_MOST_HASHES = 10_000
_OWN_NAME = re.compile(r"[0-9a-f]{32}(\.json)?")
_SETTLED_NS = 2_000_000_000
"""A file changed this recently may change again within one tick of the file system's clock."""


def cache_folder() -> Path:
    """Return the folder of things that can be made again: EVOLCODER_CACHE, or in XDG_CACHE_HOME."""
    if named := os.environ.get("EVOLCODER_CACHE"):
        return Path(named)
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "evolcoder"
    try:
        home = Path.home()
    except RuntimeError:  # a user who is a number alone: the home that containers give it
        home = Path("/")
    return home / ".cache" / "evolcoder"


def oldest_of_cache(folder: Path, most: int) -> list[Path]:
    """Return what was written longest ago of a folder's entries beyond `most`; may raise OSError.

    Only what bears a content hash for its name is the cache's: the folder may be somebody's own as well.
    """
    with os.scandir(folder) as entries:
        own = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if _OWN_NAME.fullmatch(entry.name)]
    return [Path(path) for _, path in sorted(own)[: max(len(own) - most, 0)]]


def forget_oldest(folder: Path, most: int) -> None:
    """Remove the files of the cache in a folder written longest ago beyond `most`; may raise OSError."""
    for file in oldest_of_cache(folder, most):
        file.unlink(missing_ok=True)


def kept_file_hash(path: Path) -> str:
    """Return `file_hash(path)`; that of a large file is kept, so that weights of 30 GB are read once.

    Kept for path, inode, size, and times of change: the second of these is the system's own, which nobody can
    set back. A cache that cannot be written is done without.
    """
    path = path.resolve()
    before = path.stat()
    if before.st_size < _WORTH_KEEPING:
        return file_hash(path)
    facts = [before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns]
    kept = cache_folder() / "hashes" / f"{content_hash(str(path))}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["facts"] == facts:
            return str(known["hash"])
    digest = file_hash(path)
    if time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) > _SETTLED_NS:
        with suppress(OSError):
            write_text_whole(kept, json.dumps({"facts": facts, "hash": digest}))
            forget_oldest(kept.parent, _MOST_HASHES)
    return digest


def kept_database(path: Path, what: str, *statements: str) -> sqlite3.Connection:
    """Open or make a SQLite file; raises OutsideError in the words `what`, with the error for "{error}"."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode=WAL", *statements):
            connection.execute(statement)
        return connection
    except (OSError, sqlite3.Error) as error:
        raise OutsideError(f"{path}: {what.format(error=error)}") from error
