"""The runs that the app shows, by name: the one it was started with, and those in the folder of runs."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from evolcoder.app.run_view import RunView
from evolcoder.errors import DataError
from evolcoder.report.run_folder import learns_alone

_VIEWS_KEPT = 3
_MOST_LISTED = 200


class KnownRuns:
    """Runs by name; reading them is safe from many threads.

    Raises DataError where `first` is no run folder.
    """

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
        names = [self.first] if self.first else []
        return list(dict.fromkeys([*names, *(name for begun, name in runs[:_MOST_LISTED] if begun)]))

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
