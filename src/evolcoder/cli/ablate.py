"""`evolcoder ablate`: what each round, method and teacher of a recipe is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from evolcoder.cli.options import Numbers, recipe_options
from evolcoder.cli.terminal import wrapped
from evolcoder.errors import UserError


@click.command()
@recipe_options
@click.option(
    "--over",
    multiple=True,
    type=click.Choice(["rounds", "alone", "merged", "seeds-only", "steps", "methods", "teachers", "files"]),
    help="Rounds alone, merged, or both; base, seeds and round 1; rounds by steps of training; methods left "
    "out one by one; teachers; data files that are there.  [default: rounds]",
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
    type=click.Choice(["samples", "tokens", "supervised", "nothing"]),
    help="Make training sets equally large, in rows, tokens or tokens of answers.  "
    "[default: samples and tokens]",
)
@click.option("--method", "methods", multiple=True, help="Leave out only this one; may be given again.")
@click.option("--teacher", "teachers", multiple=True, metavar="MODEL", help="A further teacher.")
@click.option(
    "--arm",
    "files",
    multiple=True,
    metavar="NAME=FILE,...",
    help="For --over files: train on the rows of these data files; the first arm is compared with.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    recipe: Path, folder: Path | None, overrides: tuple[str, ...], claim: bool, as_json: bool, **asked: Any
) -> None:
    """Compare training sets of a RECIPE, as the ablations of the WizardCoder paper do.

    Each round trained alone or merged, at equal samples or equal tokens; the seeds alone against the base and
    round 1; rounds by steps; methods left out one by one; teachers; data files. With several trainings an arm
    (--seeds), their means are compared by Welch's t, corrected for the number of arms (Holm); one training
    cannot tell the arm from the run. Work of the run in the same folder is used, not done again; killed, the
    same command continues.

    \b
    Example:
      evolcoder ablate quickstart
      evolcoder ablate quickstart --over seeds-only --seeds 3
      evolcoder ablate quickstart --over steps --steps 4,8,16
      evolcoder ablate quickstart --over methods --equal samples
      evolcoder ablate my-recipe.yaml --over teachers --teacher openai:gpt-4.1-mini
      evolcoder ablate my-recipe.yaml --over files --arm seeds=a.jsonl --arm evolved=b.jsonl --claim
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.loop import shell_line
    from evolcoder.loop.ablation import FOLDER, ablate
    from evolcoder.loop.ablation_arms import Question
    from evolcoder.recipe import load_recipe
    from evolcoder.report.ablation_page import ABLATION_NAME, ablation_table

    if claim and asked["seeds"] == 1:
        raise UserError("--claim needs at least two trainings an arm (--seeds 2): one cannot be tested")
    checked = load_recipe(recipe, overrides)
    folder = folder or Path("runs") / checked.name
    given = {"--set": overrides, "--over": asked["over"], "--equal": asked["equal"]}
    given |= {"--method": asked["methods"], "--teacher": asked["teachers"], "--arm": asked["files"]}
    asked["seeds"] = asked["seeds"] or (3 if claim else 1)
    asked["files"] = tuple(map(_arm, asked["files"]))
    question = Question(**{name: value for name, value in asked.items() if value})  # else as by default
    if question.steps:
        given["--steps"] = (",".join(map(str, question.steps)),)
    if question.seeds > 1:
        given["--seeds"] = (str(question.seeds),)
    line = shell_line("ablate", recipe, given, folder)
    found = ablate(checked, folder, question, progress_view(), line)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(wrapped(ablation_table(found)))
    click.echo(f"\nplot and table: {folder / FOLDER / ABLATION_NAME}")


def _arm(text: str) -> tuple[str, tuple[str, ...]]:
    name, sign, files = text.partition("=")
    if not (name and sign and all(parts := tuple(files.split(",")))):
        raise UserError(f"--arm {text}: NAME=FILE or NAME=FILE,FILE is expected")
    return name, parts
