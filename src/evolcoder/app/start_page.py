"""Start a run: a recipe from a form, its plan and price, and the run itself started, stopped, continued."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evolcoder.app.launching import Launch, checked_launch, overrides_of
from evolcoder.app.widgets import Place, render
from evolcoder.errors import UserError
from evolcoder.progress import duration
from evolcoder.recipe import CODE, STOP_RULES, load_recipe, plain_data
from evolcoder.report.templating import flat_settings
from evolcoder.shipped_recipes import RUN, shipped_names

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
