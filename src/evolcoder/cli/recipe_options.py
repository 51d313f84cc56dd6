"""What every command that works on a recipe takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add RECIPE, --dir and --set, as the arguments `recipe`, `folder` and `overrides`."""
    for option in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change one setting, e.g. train.epochs=1.",
        ),
        click.option(
            "--dir",
            "folder",
            type=click.Path(path_type=Path),
            help="Run folder (default: runs/NAME of the recipe).",
        ),
        click.argument("recipe", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command
