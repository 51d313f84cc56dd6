"""A run folder that is shown again and again: its files are read again only when they change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from evolcoder.app.live_run import scores_now
from evolcoder.app.run_problems import RunProblems
from evolcoder.app.run_rows import RunRows, row_sources
from evolcoder.report.run_folder import Run, read_run
from evolcoder.report.scores import BenchmarkScores

Value = TypeVar("Value")
_BENCHMARKS_KEPT = 2


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
