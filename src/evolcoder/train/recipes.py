"""Training recipes: a YAML file with base, data, the base's architecture and the training settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evolcoder.errors import RecipeError, nearest
from evolcoder.row_forms import NO_COLUMNS, Columns, checked_columns
from evolcoder.shipped_recipes import TRAIN, recipe_file
from evolcoder.train.settings import TrainSettings

_KEYS = ("name", "base", "data", "eval_data", "columns", "train", "architecture", "source")


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What one fine-tuning is made of."""

    base: str
    data: tuple[str, ...]
    settings: TrainSettings
    name: str = ""
    architecture: dict[str, Any] = field(default_factory=dict)
    """The base model's Hugging Face configuration, so that it can be planned without a download."""
    eval_data: tuple[str, ...] = ()
    """Rows that the held-out loss is measured on, beside those that `eval_rows` takes out of the data."""
    columns: Columns = field(default_factory=dict)
    """The data's names of columns, by ours."""


def read_train_recipe(path: Path) -> dict[str, Any]:
    """Read a training recipe, a file or a shipped one's name; raises RecipeError naming every bad key."""
    path = recipe_file(path, TRAIN)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: not YAML text ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a mapping is expected, found {type(data).__name__}")
    problems = [
        f"{key}: unknown key{nearest(str(key), _KEYS)}; the keys are {', '.join(_KEYS)}"
        for key in data
        if key not in _KEYS
    ]
    try:
        settings_from(data.get("train") or {})
    except RecipeError as error:
        problems.append(f"train: {error}")
    try:
        checked_columns(data.get("columns") or {})
    except ValueError as error:
        problems.append(str(error))
    if not isinstance(data.get("base"), str):
        problems.append("base: the name of a model is expected")
    if problems:
        raise RecipeError(f"{path}: {'; '.join(problems)}")
    data.setdefault("name", path.stem)
    return data


def training_from(
    recipe: Mapping[str, Any],
    base: str | None,
    data: Sequence[str],
    given: Mapping[str, Any],
    overrides: Sequence[str] = (),
    eval_data: Sequence[str] = (),
    columns: Columns = NO_COLUMNS,
) -> TrainingJob:
    """Put a recipe and what was given beside it together; what was given wins.

    Raises RecipeError for an unknown or impossible setting.
    """
    values = {**(recipe.get("train") or {}), **given}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RecipeError(f"--set {override}: key=value is expected")
        values[key.removeprefix("train.")] = yaml.safe_load(text)
    another = base is not None and base != recipe.get("base")
    return TrainingJob(
        base=base or str(recipe.get("base") or ""),
        data=tuple(data) or _names(recipe.get("data")),
        settings=settings_from(values),
        name=str(recipe.get("name") or base or ""),
        architecture={} if another else dict(recipe.get("architecture") or {}),
        eval_data=tuple(eval_data) or _names(recipe.get("eval_data")),
        columns=columns or recipe.get("columns") or NO_COLUMNS,
    )


def _names(value: Any) -> tuple[str, ...]:
    """One name or a list of names, as a recipe may write it."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def settings_from(values: Mapping[str, Any]) -> TrainSettings:
    """Check plain values and return the settings; raises RecipeError naming every bad one."""
    from pydantic import TypeAdapter, ValidationError

    known = [f.name for f in dataclasses.fields(TrainSettings)]
    problems = [f"{key}: unknown setting{nearest(str(key), known)}" for key in values if key not in known]
    if problems:
        raise RecipeError("; ".join(problems))
    try:
        return TypeAdapter(TrainSettings).validate_python(dict(values))
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False)
        ]
        raise RecipeError("; ".join(found)) from error


def checked_config(architecture: Mapping[str, Any]) -> Any:
    """Return an architecture's transformers configuration; raises RecipeError where it is none."""
    import transformers

    values = dict(architecture)
    kind = values.pop("model_type", None)
    try:
        return transformers.AutoConfig.for_model(kind, **values)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"architecture: {' '.join(str(error).split())[:200]}") from error
