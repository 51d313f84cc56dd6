"""Verdicts kept by the content of what was judged: nothing runs twice, and a stopped scoring continues.

The key covers the program, the tests, the oracle, the limits and the Python version. Infrastructure failures
are not kept. Without the file the programs are run again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from evolcoder.cache import cache_folder, kept_database
from evolcoder.records import Verdict

_FLUSH_EVERY = 256
_FLUSH_AFTER_S = 1.0


class VerdictCache:
    """A SQLite file of verdicts by content key, as a context manager."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or make the file (None: the one in the cache folder); raises OutsideError where it cannot."""
        path = path or cache_folder() / "verdicts.sqlite"
        self._db = kept_database(
            path,
            "the verdict cache cannot be used ({error}); --no-cache goes without",
            "PRAGMA synchronous=NORMAL",
            "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT) WITHOUT ROWID",
        )
        self._waiting: dict[str, str] = {}
        self._flushed_at = time.monotonic()

    def get_many(self, keys: Iterable[str]) -> dict[str, Verdict]:
        """Return the verdicts known, by key."""
        found: dict[str, Verdict] = {}
        asked = list(dict.fromkeys(keys))
        for start in range(0, len(asked), 500):
            part = asked[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, verdict FROM verdicts WHERE key IN ({marks})"
            for key, text in self._db.execute(query, part):
                found[key] = Verdict(**json.loads(text))
        for key in asked:
            if key in self._waiting:
                found[key] = Verdict(**json.loads(self._waiting[key]))
        return found

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; on disk within a second or 256 verdicts, at the latest when closed."""
        if verdict.reason == "infrastructure":
            return
        self._waiting[key] = json.dumps(asdict(verdict))
        if len(self._waiting) >= _FLUSH_EVERY or time.monotonic() - self._flushed_at > _FLUSH_AFTER_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits, in one transaction."""
        if self._waiting:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", self._waiting.items())
            self._db.execute("COMMIT")
            self._waiting.clear()
        self._flushed_at = time.monotonic()

    def __enter__(self) -> VerdictCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._db.close()
