"""The runs that the app shows, by name; a run's files are read again only when they change."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from evolcoder.app.live_run import scores_now
from evolcoder.app.run_problems import RunProblems
from evolcoder.app.run_rows import RunRows, row_sources
from evolcoder.errors import DataError
from evolcoder.report.run_folder import Run, learns_alone, read_run
from evolcoder.report.scores import BenchmarkScores

Value = TypeVar("Value")
_VIEWS_KEPT = 3
_BENCHMARKS_KEPT = 2
_MOST_LISTED = 200


class _Kept(Generic[Value]):
    """One value and what it was made from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signature: Any = None
        self._value: Value | None = None

    def get(self, signature: Any, make: Callable[[], Value]) -> Value:
        """Return the value; make it anew, once, if its signature is another one."""
        with self._lock:
            if self._value is None or signature != self._signature:
                self._value = make()
                self._signature = signature
            return self._value


class RunView:
    """What the app reads of one run, finished or under way. Raises DataError where it is no run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scores: _Kept[tuple[BenchmarkScores, ...]] = _Kept()
        self._rows: _Kept[RunRows] = _Kept()
        self._problems: dict[str, _Kept[RunProblems]] = {}
        read_run(folder)

    def run(self) -> Run:
        """Read the run's small files; raises DataError for a broken one."""
        return read_run(self.folder)

    def scores(self, run: Run) -> tuple[BenchmarkScores, ...]:
        """Return the scores of the run as just read."""
        files = [run.folder / "recipe.yaml", run.folder / "result.json"]
        files += sorted(run.folder.glob("round-*/evaluation/*/scores.json"))
        return self._scores.get([_signature(path) for path in files], lambda: scores_now(run))

    def rows(self) -> RunRows:
        """Return the index of all rows."""
        sources = row_sources(self.run())
        return self._rows.get([_signature(source.path) for source in sources], lambda: RunRows(sources))

    def problems(self, benchmark: str) -> RunProblems:
        """Return the index of one benchmark's problems and samples."""
        run = self.run()
        files = [
            _signature(round_.folder / "evaluation" / benchmark / name)
            for round_ in run.rounds
            for name in ("samples.jsonl", "verdicts.jsonl")
        ]
        kept = self._problems.pop(benchmark, None) or _Kept()
        self._problems[benchmark] = kept
        while len(self._problems) > _BENCHMARKS_KEPT:
            self._problems.pop(next(iter(self._problems)))
        return kept.get(files, lambda: RunProblems(benchmark, run.rounds))


def _signature(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (str(path), 0, 0)
    return (str(path), stat.st_mtime_ns, stat.st_size)


class KnownRuns:
    """Runs by name, for many threads. Raises DataError where `first` is no run folder."""

    def __init__(self, first: Path | None, folder: Path | None) -> None:
        self._first, self._folder = first, folder
        self._lock = threading.Lock()
        self._views: OrderedDict[str, RunView] = OrderedDict()
        if first is not None:
            self._views[self.first] = RunView(first)

    @property
    def first(self) -> str:
        """Name of the run that the app was started with, "" without one."""
        return self._first.resolve().name if self._first else ""

    def names(self) -> list[str]:
        """Return the run that the app was started with, then the others, the newest first."""
        runs: list[tuple[int, str]] = []
        with suppress(OSError):
            found = [*self._folder.iterdir()] if self._folder and self._folder.is_dir() else []
            runs = sorted(((_begun(path), path.name) for path in found), reverse=True)
        names = [self.first, *(name for begun, name in runs[:_MOST_LISTED] if begun)]
        return list(dict.fromkeys(filter(None, names)))

    def path(self, name: str) -> Path | None:
        """Return the folder of a run by its name, which need not be there yet; None for no such name."""
        if self._first is not None and name == self.first:
            return self._first
        if self._folder is None or not re.fullmatch(r"(?!\.{1,2}$)[^/\\\x00-\x1f]{1,200}", name):
            return None
        return self._folder / name

    def view(self, name: str) -> RunView:
        """Return what the app reads of a run. Raises DataError where there is none of this name."""
        path = self.path(name)
        if path is None:
            raise DataError(f"{name}: no such run")
        with self._lock:
            view = self._views.pop(name, None) or RunView(path)
            self._views[name] = view
            while len(self._views) > _VIEWS_KEPT:
                self._views.popitem(last=False)
            return view


def _begun(path: Path) -> int:
    """Return when a run, or a learning alone, began, in nanoseconds; 0 for what is none or cannot be read."""
    try:
        if (path / "recipe.yaml").exists():
            return (path / "recipe.yaml").stat().st_mtime_ns
        return path.stat().st_mtime_ns if learns_alone(path) else 0
    except (OSError, DataError):
        return 0
