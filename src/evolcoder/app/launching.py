"""Runs that are started from the page: the plan of a recipe, and `evolcoder run` as a process of its own.

A run goes on when the app ends; the app stops only what it started. What a run tells goes into its own files
and at the end of `NAME.log` beside its folder.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolcoder.errors import RecipeError, UserError
from evolcoder.recipe import load_recipe

_PLAN_S = 120.0
"""Most seconds that a plan may take."""
_MOST_RUNNING = 4
_LOG_TAIL = 2000
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What `evolcoder run` is given."""

    recipe: str
    """A file, or the name of a shipped recipe."""
    overrides: tuple[str, ...]
    folder: Path

    @property
    def words(self) -> list[str]:
        """The command as a person would type it."""
        changed = [word for pair in self.overrides for word in ("--set", pair)]
        return ["evolcoder", "run", self.recipe, *changed, "--dir", str(self.folder)]


def checked_launch(recipe: str, overrides: Sequence[str], runs: Path) -> Launch:
    """Return a launch whose recipe holds; raises RecipeError that names what does not."""
    return Launch(recipe, tuple(overrides), runs / load_recipe(Path(recipe), overrides).name)


def continued(folder: Path) -> Launch:
    """Return the launch that goes on with a run, by the recipe that lies in its folder."""
    return Launch(str(folder / "recipe.yaml"), (), folder)


def plan_of(launch: Launch) -> dict[str, Any]:
    """Return what `evolcoder run --plan --json` says. Raises UserError with its last line where it fails."""
    command = [*_command(launch), "--plan", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PLAN_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"the plan took more than {_PLAN_S:.0f} s") from error
    if done.returncode != 0:
        raise UserError(_last_line(done.stderr))
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


@dataclass(slots=True)
class Launched:
    """The runs that this app started, by folder."""

    _processes: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)
    _log_begins: dict[Path, int] = field(default_factory=dict)
    """Byte of a run's log at which its newest process begins: what stands before it is kept."""
    _starting: threading.Lock = field(default_factory=threading.Lock)
    """Requests come in threads: of two clicks one starts."""

    def start(self, launch: Launch) -> None:
        """Start a run, or go on with one. Raises UserError where it runs already, or too many do."""
        with self._starting:
            self._start(launch)

    def _start(self, launch: Launch) -> None:
        running = [folder for folder in list(self._processes) if self.running(folder)]
        if launch.folder in running:
            raise UserError(f"{launch.folder.name} is running")
        if len(running) >= _MOST_RUNNING:
            raise UserError(f"{_MOST_RUNNING} runs started here are running; stop one first")
        launch.folder.parent.mkdir(parents=True, exist_ok=True)
        with _log(launch.folder).open("ab") as log:
            self._log_begins[launch.folder] = log.tell()
            self._processes[launch.folder] = subprocess.Popen(
                _command(launch),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the app's terminal ends the app alone
            )

    def running(self, folder: Path) -> bool:
        """Return whether a run that was started here works on."""
        process = self._processes.get(folder)
        return process is not None and process.poll() is None

    def stop(self, folder: Path) -> None:
        """Ask a run that was started here to stop, as Ctrl-C does: what is finished stays."""
        process = self._processes.get(folder)
        if process is None or process.poll() is not None:
            raise UserError(f"{folder.name} was not started here, or has ended")
        process.send_signal(signal.SIGINT)

    def failure(self, folder: Path) -> str:
        """Return the last line of a run that was started here and failed; "" for every other."""
        process = self._processes.get(folder)
        if process is None or process.poll() in (None, 0, 130):
            return ""
        with _log(folder).open("rb") as log:
            log.seek(max(self._log_begins[folder], log.seek(0, 2) - _LOG_TAIL))
            return _last_line(log.read().decode("utf-8", "replace"))


def overrides_of(form: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what differs from a recipe, and `further` lines, as KEY=VALUE; raises RecipeError."""
    changed = [f"{key}={form[key].strip()}" for key in now if key in form and form[key].strip() != now[key]]
    changed = [pair if pair.split("=", 1)[1] else f"{pair}null" for pair in changed]
    further = [line.strip() for line in form.get("further", "").splitlines() if line.strip()]
    if wrong := next((line for line in further if "=" not in line), None):
        raise RecipeError(f"{wrong!r}: KEY=VALUE is expected, e.g. train.epochs=1")
    return [*changed, *further]


def _command(launch: Launch) -> list[str]:
    return [sys.executable, "-c", _RUN, *launch.words[1:]]


_RUN = """
import signal
from evolcoder.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
# A child of an app that a shell put into the background (`evolcoder app &`) would ignore being stopped.


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
