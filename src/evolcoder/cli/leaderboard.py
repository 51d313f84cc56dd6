"""`evolcoder leaderboard`: scores of many evaluations and the published ones, as one table and one chart."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR [DIR]...", type=click.Path(path_type=Path))
@click.option("--benchmark", "-b", help="Draw this benchmark; the first one where absent.")
@click.option("--only", is_flag=True, help="Show the named benchmark only.")
@click.option("--published/--no-published", default=True, show_default=True, help="Show published figures.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="Write it as CSV.")
@click.option(
    "--chart",
    "charts",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the bar chart into this .svg or .png file; may be given twice.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(
    folders: tuple[Path, ...],
    benchmark: str | None,
    only: bool,
    published: bool,
    markdown: Path | None,
    csv_file: Path | None,
    charts: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Gather the scores under each DIR (of evaluate --out, or a run) and the published ones.

    A DIR may also be a file with what score --json or evaluate --json printed.

    \b
    Example:
      evolcoder leaderboard runs/* --chart leaderboard.png
      evolcoder leaderboard runs/quickstart scores/ -b humaneval+ --markdown board.md --csv board.csv
    """
    import json

    from evolcoder.errors import UserError
    from evolcoder.report import leaderboard as board
    from evolcoder.report.leaderboard_chart import write_chart
    from evolcoder.runs import write_text_whole

    for path in charts:
        if path.suffix.lower() not in (".svg", ".png"):
            raise UserError(f"--chart {path}: a name that ends in .svg or .png is expected")
    entries = board.gather(folders, published)
    family = board.chosen_benchmark(entries, benchmark)
    shown = [entry for entry in entries if entry.family == family] if only else entries
    if markdown is not None:
        write_text_whole(markdown, board.as_markdown(shown))
    if csv_file is not None:
        write_text_whole(csv_file, board.as_csv(shown))
    for path in charts:
        write_chart(path, board.for_chart(entries, family), family)
    click.echo(json.dumps(board.as_rows(shown), indent=2) if as_json else board.as_text(shown))
