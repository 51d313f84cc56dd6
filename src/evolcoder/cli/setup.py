"""`evolcoder setup`: build the environment that a benchmark is judged in."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the environment  [default: environments/NAME in the cache folder].",
)
@click.option("--python", help="Interpreter to build it with  [default: uv's, this one, python3.11].")
def command(name: str, into: Path | None, python: str | None) -> None:
    """Build the environment that benchmark NAME is judged in, from the lock file that evolcoder ships.

    \b
    Example:
      evolcoder setup ds1000
      evolcoder setup ds1000 --into /data/ds1000-environment
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.evaluate.benchmarks import environment_spec
    from evolcoder.evaluate.benchmarks.environments import build_environment

    environment = build_environment(environment_spec(name), into, python, progress_view())
    click.echo(f"{name}: {environment.title}, in {environment.python.packages}")
