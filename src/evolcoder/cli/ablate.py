"""`evolcoder ablate`: what each round, method and teacher of a recipe is worth."""

from __future__ import annotations

from pathlib import Path

import click

from evolcoder.cli.recipe_options import recipe_options


@click.command()
@recipe_options
@click.option(
    "--over",
    multiple=True,
    type=click.Choice(["rounds", "alone", "merged", "methods", "teachers"]),
    help="Rounds alone, merged, or both; methods left out one by one; teachers.  [default: rounds]",
)
@click.option(
    "--equal",
    multiple=True,
    type=click.Choice(["samples", "tokens", "nothing"]),
    help="Make training sets equally large.  [default: samples and tokens]",
)
@click.option("--method", "methods", multiple=True, help="Leave out only this one; may be given again.")
@click.option("--teacher", "teachers", multiple=True, metavar="MODEL", help="A further teacher.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    recipe: Path,
    folder: Path | None,
    overrides: tuple[str, ...],
    over: tuple[str, ...],
    equal: tuple[str, ...],
    methods: tuple[str, ...],
    teachers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare training sets of a RECIPE, as the ablations of the WizardCoder paper do.

    Each round trained alone or merged, at equal samples or equal tokens; methods left out one by one;
    teachers. Work of the run in the same folder is used, not done again; killed, the same command continues.

    \b
    Example:
      evolcoder ablate quickstart
      evolcoder ablate quickstart --over methods --equal samples
      evolcoder ablate my-recipe.yaml --over teachers --teacher openai:gpt-4.1-mini
    """
    import json
    import shlex
    from typing import cast

    from evolcoder.cli.progress_view import progress_view
    from evolcoder.loop.ablation import FOLDER, ablate
    from evolcoder.loop.ablation_arms import Equal, Over, Question
    from evolcoder.recipe import load_recipe
    from evolcoder.report.ablation_page import ABLATION_NAME, ablation_table

    checked = load_recipe(recipe, overrides)
    folder = folder or Path("runs") / checked.name
    question = Question(
        over=cast("tuple[Over, ...]", over) or ("rounds",),
        equal=cast("tuple[Equal, ...]", equal) or ("samples", "tokens"),
        teachers=teachers,
        methods=methods,
    )
    given = [("--set", overrides), ("--over", over), ("--equal", equal)]
    given += [("--method", methods), ("--teacher", teachers)]
    words = [word for option, values in given for value in values for word in (option, value)]
    line = shlex.join(["evolcoder", "ablate", str(recipe), *words, "--dir", str(folder)])
    found = ablate(checked, folder, question, progress_view(), line)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(ablation_table(found))
    click.echo(f"\nplot and table: {folder / FOLDER / ABLATION_NAME}")
