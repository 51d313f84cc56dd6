"""`evolcoder report`: the HTML report of a run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the path and the scores as JSON.")
def command(run: Path, as_json: bool) -> None:
    """Write the HTML report of RUN into its folder, and print its path.

    RUN may still be under way: the report then shows what is there.

    \b
    Example:
      evolcoder report runs/quickstart
    """
    import json

    from evolcoder.report import write_report
    from evolcoder.report.run_folder import read_run

    path = write_report(run)
    if as_json:
        click.echo(json.dumps({"report": str(path), "result": read_run(run).result or None}, indent=2))
        return
    click.echo(path)
