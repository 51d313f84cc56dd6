"""`evolcoder recipe`: list the shipped recipes, check one, or print the JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group()
def command() -> None:
    """List the shipped recipes, check one, or print the JSON Schema.

    \b
    Example:
      evolcoder recipe list
      evolcoder recipe check quickstart
      evolcoder recipe schema > recipe.schema.json
    """


@command.command("list")
def list_recipes() -> None:
    """Print the names of the shipped recipes: for run, for train --recipe, for train --deepspeed.

    \b
    Example:
      evolcoder recipe list
    """
    from evolcoder.shipped_recipes import DEEPSPEED, RUN, TRAIN, shipped_names

    for use, kind in (("run", RUN), ("train --recipe", TRAIN), ("train --deepspeed", DEEPSPEED)):
        for name in shipped_names(kind):
            click.echo(f"evolcoder {use} {name}")


@command.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors and scripts.

    \b
    Example:
      evolcoder recipe schema > recipe.schema.json
    """
    from evolcoder.recipe import recipe_schema

    click.echo(json.dumps(recipe_schema(), indent=2))


@command.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting first.")
@click.option("--json", "as_json", is_flag=True, help="Print the resolved recipe as JSON.")
def check(recipe: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check RECIPE and print it with every default written out.

    \b
    Example:
      evolcoder recipe check quickstart --set train.epochs=1
    """
    from evolcoder.recipe import load_recipe, plain_data, recipe_yaml

    checked = load_recipe(recipe, overrides)
    click.echo(json.dumps(plain_data(checked), indent=2) if as_json else recipe_yaml(checked).rstrip())
