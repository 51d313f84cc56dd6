"""`evolcoder run`: a whole recipe."""

from __future__ import annotations

from pathlib import Path

import click

from evolcoder.cli.options import engine_option, recipe_options


@click.command()
@recipe_options
@click.option("--plan", is_flag=True, help="Do nothing; show every stage, what is done, and what it takes.")
@click.option(
    "--redo", multiple=True, metavar="STAGE", help="Do this stage again, e.g. train:2, or evaluate for all."
)
@click.option(
    "--skip", multiple=True, metavar="STAGE", help="Leave this stage as it stands, e.g. evaluate:1."
)
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result, or the plan, as JSON.")
def command(
    recipe: Path,
    folder: Path | None,
    overrides: tuple[str, ...],
    plan: bool,
    redo: tuple[str, ...],
    skip: tuple[str, ...],
    engine: str,
    as_json: bool,
) -> None:
    """Run a whole RECIPE: evolve, fine-tune, evaluate, round after round, until the score stops rising.

    The same command continues an interrupted run: what a model answered is never asked again, what is
    trained and measured stays. A changed recipe does again only what depends on the change, and says what
    first; --plan shows it without doing it.

    \b
    Example:
      evolcoder run quickstart
      evolcoder run quickstart --set rounds.max_rounds=3 --plan
      evolcoder run quickstart --redo train:2
    """
    import json

    from evolcoder.cli.plan_text import plan_data, plan_text
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.cli.terminal import wrapped
    from evolcoder.execution.opening import open_engine
    from evolcoder.loop import plan_recipe, run_recipe, shell_line
    from evolcoder.loop.stages import Choice
    from evolcoder.recipe import load_recipe
    from evolcoder.report.table import scores_table

    checked = load_recipe(recipe, overrides)
    folder = folder or Path("runs") / checked.name
    choice = Choice(redo, skip)
    if plan:
        planned = plan_recipe(checked, folder, choice)
        click.echo(json.dumps(plan_data(planned), indent=2) if as_json else wrapped(plan_text(planned)))
        return
    line = shell_line("run", recipe, {"--set": overrides, "--skip": skip}, folder)
    with open_engine(engine) as where:
        result = run_recipe(checked, folder, progress_view(), line, choice, where)
    if as_json:
        click.echo(json.dumps(result, indent=2, sort_keys=True))
        return
    click.echo(wrapped(scores_table(result)))
    click.echo(f"report: {folder / 'report.html'}")
