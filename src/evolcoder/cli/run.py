"""`evolcoder run`: a whole recipe."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="Run folder (default: runs/NAME of the recipe)."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting, e.g. train.epochs=1."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(recipe: Path, folder: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Run a whole RECIPE: evolve, fine-tune, evaluate, round after round, until the score stops rising.

    The same command continues an interrupted run: what a model answered is never asked again, what is
    trained and measured stays.

    \b
    Example:
      evolcoder run recipes/quickstart.yaml
      evolcoder run recipes/quickstart.yaml --dir runs/mine --set rounds.max_rounds=3
    """
    import json

    from evolcoder.cli.progress_view import progress_view
    from evolcoder.loop import run_recipe
    from evolcoder.recipe import load_recipe
    from evolcoder.report.table import scores_table

    checked = load_recipe(recipe, overrides)
    folder = folder or Path("runs") / checked.name
    command_line = " ".join(["evolcoder run", str(recipe), *(f"--set {pair}" for pair in overrides)])
    result = run_recipe(checked, folder, progress_view(), command_line=f"{command_line} --dir {folder}")
    if as_json:
        click.echo(json.dumps(result, indent=2, sort_keys=True))
        return
    click.echo(scores_table(result))
    click.echo(f"report: {folder / 'report.html'}")
