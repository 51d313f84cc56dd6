"""The progress of a run in a file, `RUN/progress.json`, so that another process can show it.

It passes everything on to the run's own progress view. The file is for display only, a run never continues
from it: it is replaced whole a few times a second at most, and never synced.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evolcoder.progress import Bar, Progress, StageLine, StageWatcher
from evolcoder.runs import is_alive

PROGRESS_NAME = "progress.json"
_WRITE_EVERY_S = 0.5
_NOTES = 12
"""Notes kept: the newest ones."""


@dataclass(frozen=True, slots=True)
class BarState:
    """One piece of work under way."""

    name: str
    done: int
    total: int | None
    seconds: float
    """Since it began."""
    facts: dict[str, str | float]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """What `progress.json` says."""

    running: bool
    """Whether the process that wrote it works on; its id tells, so only on the same machine."""
    written: float
    """When it was written, in seconds since the epoch."""
    stages: tuple[StageLine, ...]
    bars: tuple[BarState, ...]
    notes: tuple[str, ...]


class RecordedProgress:
    """A `Progress` that passes everything on and keeps `progress.json` up to date; use it as a context."""

    def __init__(self, inner: Progress, path: Path) -> None:
        self._inner, self._path = inner, path
        self._lock = threading.RLock()
        self._bars: list[_RecordedBar] = []
        self._notes: list[str] = []
        self._stages: list[StageLine] = []
        self._last_written = 0.0

    def __enter__(self) -> RecordedProgress:
        self.write(at_once=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.write(at_once=True, ended=True)

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        """Open a bar, here and with the other watchers."""
        with self._inner.bar(name, total) as inner:
            bar = _RecordedBar(self, inner, name, total)
            with self._lock:
                self._bars.append(bar)
            self.write(at_once=True)
            try:
                yield bar
            finally:
                with self._lock:
                    self._bars.remove(bar)
                self.write(at_once=True)

    def note(self, line: str) -> None:
        """Pass a note on, and keep it among the newest."""
        self._inner.note(line)
        with self._lock:
            self._notes = [*self._notes, line][-_NOTES:]
        self.write(at_once=True)

    def stages(self, lines: Sequence[StageLine]) -> None:
        """Pass the stages on where somebody shows them, and keep them."""
        if isinstance(self._inner, StageWatcher):
            self._inner.stages(lines)
        with self._lock:
            self._stages = list(lines)
        self.write(at_once=True)

    def write(self, *, at_once: bool = False, ended: bool = False) -> None:
        """Replace the file, unless it was written a moment ago. A full disk does not stop the run here."""
        with self._lock:
            now = time.monotonic()
            if not at_once and now - self._last_written < _WRITE_EVERY_S:
                return
            self._last_written = now
            state = {
                "pid": None if ended else os.getpid(),
                "host": socket.gethostname(),
                "written": time.time(),
                "stages": list(map(asdict, self._stages)),
                "bars": [bar.state(now) for bar in self._bars],
                "notes": self._notes,
            }
            partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
            with suppress(OSError):
                partial.write_text(json.dumps(state), encoding="utf-8", errors="replace")
                partial.replace(self._path)


class _RecordedBar:
    def __init__(self, owner: RecordedProgress, inner: Bar, name: str, total: int | None) -> None:
        self._owner, self._inner = owner, inner
        self._name, self._total, self._done = name, total, 0
        self._facts: dict[str, str | float] = {}
        self._begun = time.monotonic()

    def advance(self, n: int = 1, **facts: str | float) -> None:
        self._inner.advance(n, **facts)
        self._done += n
        self._facts.update(facts)
        self._owner.write()

    def state(self, now: float) -> dict[str, Any]:
        seconds = round(now - self._begun, 1)
        return asdict(BarState(self._name, self._done, self._total, seconds, self._facts))


def read_progress(run: Path) -> RunProgress | None:
    """Return how far the run in this folder is; None without a progress file that can be read."""
    try:
        state = json.loads((run / PROGRESS_NAME).read_bytes())
        here = state["pid"] is not None and state["host"] == socket.gethostname()
        return RunProgress(
            running=here and is_alive(state["pid"]),
            written=float(state["written"]),
            stages=tuple(StageLine(s["title"], s["state"], s["seconds"]) for s in state["stages"]),
            bars=tuple(
                BarState(str(b["name"]), int(b["done"]), b["total"], float(b["seconds"]), dict(b["facts"]))
                for b in state["bars"]
            ),
            notes=tuple(map(str, state["notes"])),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
