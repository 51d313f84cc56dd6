"""`evolcoder ablate`: what each round, method and teacher of a recipe is worth."""

from __future__ import annotations

from pathlib import Path

import click

from evolcoder.cli.recipe_options import recipe_options
from evolcoder.cli.score import Numbers


@click.command()
@recipe_options
@click.option(
    "--over",
    multiple=True,
    type=click.Choice(["rounds", "alone", "merged", "seeds-only", "steps", "methods", "teachers"]),
    help="Rounds alone, merged, or both; base, seeds and round 1; rounds by steps of training; methods left "
    "out one by one; teachers.  [default: rounds]",
)
@click.option(
    "--steps", type=Numbers(), default=(), help="For --over steps: train each round for so many steps."
)
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Trainings of each arm.  [default: 1; 3 with --claim]"
)
@click.option("--claim", is_flag=True, help="Train each arm at least twice, so that a claim can be tested.")
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
    steps: tuple[int, ...],
    seeds: int | None,
    claim: bool,
    equal: tuple[str, ...],
    methods: tuple[str, ...],
    teachers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare training sets of a RECIPE, as the ablations of the WizardCoder paper do.

    Each round trained alone or merged, at equal samples or equal tokens; the seeds alone against the base and
    round 1; rounds by steps; methods left out one by one; teachers. With several trainings an arm (--seeds),
    their means are compared by Welch's t, corrected for the number of arms (Holm); one training cannot tell
    the arm from the run. Work of the run in the same folder is used, not done again; killed, the same command
    continues.

    \b
    Example:
      evolcoder ablate quickstart
      evolcoder ablate quickstart --over seeds-only --seeds 3
      evolcoder ablate quickstart --over steps --steps 4,8,16
      evolcoder ablate quickstart --over methods --equal samples
      evolcoder ablate my-recipe.yaml --over teachers --teacher openai:gpt-4.1-mini
    """
    import json
    import shlex
    from typing import cast

    from evolcoder.cli.progress_view import progress_view
    from evolcoder.errors import UserError
    from evolcoder.loop.ablation import FOLDER, ablate
    from evolcoder.loop.ablation_arms import Equal, Over, Question
    from evolcoder.recipe import load_recipe
    from evolcoder.report.ablation_page import ABLATION_NAME, ablation_table

    if claim and seeds == 1:
        raise UserError("--claim needs at least two trainings an arm (--seeds 2): one cannot be tested")
    checked = load_recipe(recipe, overrides)
    folder = folder or Path("runs") / checked.name
    question = Question(
        over=cast("tuple[Over, ...]", over) or ("rounds",),
        equal=cast("tuple[Equal, ...]", equal) or ("samples", "tokens"),
        teachers=teachers,
        methods=methods,
        steps=steps,
        seeds=seeds or (3 if claim else 1),
    )
    given = [("--set", overrides), ("--over", over), ("--equal", equal)]
    given += [("--method", methods), ("--teacher", teachers)]
    if steps:
        given.append(("--steps", (",".join(map(str, steps)),)))
    if question.seeds > 1:
        given.append(("--seeds", (str(question.seeds),)))
    words = [word for option, values in given for value in values for word in (option, value)]
    line = shlex.join(["evolcoder", "ablate", str(recipe), *words, "--dir", str(folder)])
    found = ablate(checked, folder, question, progress_view(), line)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(ablation_table(found))
    click.echo(f"\nplot and table: {folder / FOLDER / ABLATION_NAME}")
