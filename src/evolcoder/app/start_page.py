"""Start a run: a recipe from a form, its plan and price, and `evolcoder run` as a process of its own.

A run goes on when the app ends; the app stops only what it started. What a run tells goes into its own files
and at the end of `NAME.log` beside its folder.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evolcoder.app.widgets import Place, render
from evolcoder.errors import RecipeError, UserError
from evolcoder.progress import duration
from evolcoder.recipe import CODE, STOP_RULES, load_recipe, plain_data
from evolcoder.report.templating import flat_settings
from evolcoder.shipped_recipes import RUN, shipped_names

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
        if process is None or process.poll() in (None, 0, 130, 143):
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


_NONE = "–"


@dataclass(frozen=True, slots=True)
class Field:
    """A setting of the form."""

    key: str
    label: str
    hint: str = ""
    kind: str = "text"
    options: tuple[str, ...] = ()


_GROUPS: tuple[tuple[str, tuple[Field, ...]], ...] = (
    (
        "Models",
        (
            Field("teacher.model", "Teacher", "embedded, a folder, a Hugging Face name, openai:NAME"),
            Field("teacher.base_url", "Teacher's endpoint", "http://127.0.0.1:8000/v1, for openai:NAME"),
            Field("base.model", "Base model", "embedded, a folder, a Hugging Face name"),
        ),
    ),
    (
        "Data",
        (
            Field("code", "Code base", "a folder, the address of a git repository"),
            Field("seeds.source", "Seeds", "shipped, a data file, a Hugging Face data set"),
            Field("seeds.limit", "Take this many seeds", "all", "number"),
            Field("rounds.max_rounds", "Rounds at most", "", "number"),
            Field("rounds.rows_per_round", "Rows evolved a round", "the whole pool", "number"),
        ),
    ),
    (
        "Training and evaluation",
        (
            Field("train.epochs", "Epochs"),
            Field("train.batch_size", "Batch size", "", "number"),
            Field("train.learning_rate", "Learning rate"),
            Field("evaluate.settings.limit", "Problems of a benchmark", "all", "number"),
            Field("stop.rule", "Stop by", "", "choice", STOP_RULES),
            Field("budget.max_usd", "Spend at most, US dollars", "no limit"),
        ),
    ),
)


def start_page(runs: Path, place: Place) -> Markup:
    """Return the form, filled from a shipped recipe or the file named; raises RecipeError for a bad one."""
    names = shipped_names(RUN)
    recipe = place["recipe"] or ("quickstart" if "quickstart" in names else names[0])
    now = recipe_values(recipe)
    return render(
        "start.html.j2",
        recipe=recipe,
        names=names if recipe in names else [*names, recipe],
        groups=_groups_for(now),
        now=now,
        free=_free_name(runs, now["name"]),
        runs=runs,
    )


def _groups_for(now: Mapping[str, str]) -> list[tuple[str, list[Field]]]:
    """Return the fields of a recipe; a code base is asked for only where one is used."""
    takes_code = CODE in (now.get("seeds.source"), now.get("stop.benchmark"))
    return [(name, [field for field in group if takes_code or field.key != CODE]) for name, group in _GROUPS]


def recipe_values(recipe: str) -> dict[str, str]:
    """Return a recipe's settings as the form shows them: by dotted key, "" for what is not set."""
    flat = flat_settings(plain_data(load_recipe(Path(recipe), ())))
    return {key: "" if value == _NONE else value for key, value in flat}


def _free_name(runs: Path, name: str) -> str:
    """Return a name that no folder of a run has yet."""
    taken = {path.name for path in runs.iterdir()} if runs.is_dir() else set()
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)


def launch_of(form: Mapping[str, Any], runs: Path) -> Launch:
    """Return the launch that a form asks for. Raises RecipeError for a setting that does not hold."""
    told = {key: str(value) for key, value in form.items()}
    if not (recipe := told.get("recipe", "").strip()):
        raise UserError("name a recipe to begin from")
    now = recipe_values(recipe)
    fields = {field.key: now.get(field.key, "") for _, group in _GROUPS for field in group}
    return checked_launch(recipe, overrides_of(told, {"name": now["name"], **fields}), runs)


def plan_html(launch: Launch, plan: Mapping[str, Any]) -> Markup:
    """Return a plan as `plan_of` gives it: what is done, how long it takes, what it costs."""
    stages = [
        {**stage, "time": _time(stage), "price": "" if stage["usd"] is None else f"${stage['usd']:.2f}"}
        for stage in plan["stages"]
    ]
    price = "price not known" if plan["usd"] is None else f"${plan['usd']:.2f}"
    unknown = dict.fromkeys(stage.split(":")[0] for stage in plan["seconds_not_known_for"])
    return render(
        "plan.html.j2",
        stages=stages,
        time=f"about {duration(plan['expected_seconds'])}" if plan["expected_seconds"] else "",
        unknown=", ".join(unknown),
        requests=f"{plan['requests']:,}",
        price=price,
        folder=launch.folder,
        command=shlex.join(launch.words),
        designs=plan["designs"],
        notice=plan["notice"],
    )


def _time(stage: Mapping[str, Any]) -> str:
    if stage["took_seconds"] is not None:
        return f"took {duration(stage['took_seconds'])}"
    return "" if stage["expected_seconds"] is None else f"about {duration(stage['expected_seconds'])}"
