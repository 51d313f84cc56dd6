"""`evolcoder report`: the HTML report of a run, or the comparison of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from evolcoder.cli.options import overwrite_option


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN]...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("comparison.html"),
    help="Where the comparison of several runs goes.",
)
@overwrite_option
@click.option("--cards", is_flag=True, help="Also write the hub's cards of the best model and its data.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths and the results as JSON.")
def command(runs: tuple[Path, ...], out: Path, overwrite: bool, cards: bool, as_json: bool) -> None:
    """Write the HTML report of RUN into its folder, and print its path; of several runs, their comparison.

    A run may still be under way: the report then shows what is there.

    \b
    Example:
      evolcoder report runs/quickstart --cards
      evolcoder report runs/quickstart runs/mine --out comparison.html
    """
    from evolcoder.report import write_cards, write_comparison, write_report
    from evolcoder.report.run_folder import read_run

    path = write_report(runs[0]) if len(runs) == 1 else write_comparison(runs, out, overwrite)
    changed: Literal["replace", "refuse"] = "replace" if overwrite else "refuse"
    written = [card for run in runs for card in write_cards(run, changed=changed)] if cards else []
    if not as_json:
        click.echo("\n".join(map(str, [path, *written])))
        return
    results = [read_run(run).result or None for run in runs]
    printed = {"report": str(path), "cards": list(map(str, written)), "results": results}
    click.echo(json.dumps(printed, indent=2))
