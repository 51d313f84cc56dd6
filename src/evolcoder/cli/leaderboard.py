"""`evolcoder leaderboard`: scores of many evaluations and the published ones, as one table and one chart."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from evolcoder.cli.options import overwrite_option
from evolcoder.errors import UserError


@click.command()
@click.argument("folders", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path))
@click.option("--benchmark", "-b", help="Draw this benchmark; the first one where absent.")
@click.option(
    "--table",
    type=click.Choice(["wizardcoder", "wizardmath", "wizardlm", "figure-1"]),
    help="Show this published table with what was measured; --chart draws figure-1 as the paper does.",
)
@click.option("--only", is_flag=True, help="Show the named benchmark only.")
@click.option("--published/--no-published", default=True, help="Show published figures.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="Write it as CSV.")
@click.option(
    "--chart",
    "charts",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the bar chart into this .svg or .png file; may be given twice.",
)
@click.option(
    "--width",
    type=click.IntRange(min=280),
    help="Of the charts, in pixels; a narrow one suits a phone.  [860]",
)
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(
    folders: tuple[Path, ...], benchmark: str | None, table: str | None, published: bool, **options: Any
) -> None:
    """Gather the scores under each DIR (of evaluate --out, or a run) and the published ones.

    A DIR may also be a file with what score --json or evaluate --json printed. Without any, the published
    figures are shown: of the benchmark named, else the tables of WizardCoder, WizardMath and WizardLM.

    \b
    Example:
      evolcoder leaderboard
      evolcoder leaderboard --table figure-1 --chart figure-1.svg
      evolcoder leaderboard runs/* --chart leaderboard.png
      evolcoder leaderboard runs/quickstart scores/ -b humaneval+ --markdown board.md --csv board.csv
    """
    from evolcoder.output_files import begins_with, output_file
    from evolcoder.report import leaderboard as board
    from evolcoder.report.leaderboard_chart import WIDTH, write_chart, write_figure_1
    from evolcoder.runs import write_text_whole

    markdown, csv_file, charts = options["markdown"], options["csv_file"], options["charts"]
    only, width = options["only"], options["width"] or WIDTH
    if not folders and not published:
        raise UserError("nothing to show: --no-published leaves what was measured under a DIR")
    for path in charts:
        if path.suffix.lower() not in (".svg", ".png"):
            raise UserError(f"--chart {path}: a name that ends in .svg or .png is expected")
    if table is not None and benchmark is not None:
        raise UserError("--table shows all of its benchmarks: leave out --benchmark")
    if table is None and benchmark is None and not folders:
        tables = ["wizardcoder", "wizardmath", "wizardlm"]
    else:
        tables = [table] if table else []
    gathered = [board.gather(folders, published, table=name) for name in tables]
    entries = [entry for part in gathered for entry in part]
    if not tables:
        entries = board.gather(folders, published, [benchmark] if benchmark else [])
    family = board.chosen_benchmark(entries, benchmark) if entries else ""
    shown = [entry for entry in entries if entry.family == family] if only else entries
    files = [(markdown, begins_with(b"**")), (csv_file, begins_with(b"model,benchmark,"))]
    files += [(path, begins_with(b"<svg", b"\x89PNG")) for path in charts]
    with ExitStack() as written:
        for file, is_of_the_kind in files:
            written.enter_context(output_file(file, is_of_the_kind, overwrite=options["overwrite"]))
        for file, text_of in ((markdown, board.as_markdown), (csv_file, board.as_csv)):
            if file is not None:
                write_text_whole(file, text_of(shown))
        for path in charts:
            if table == "figure-1":
                write_figure_1(path, board.for_figure_1(entries), width)
            elif bars := board.for_chart(entries, family):
                write_chart(path, bars, family, width)
            else:
                raise UserError(f"--chart {path}: no score to draw")
    if options["as_json"]:
        click.echo(json.dumps(board.as_rows(shown), indent=2))
    elif tables and not only:
        click.echo("\n\n".join(map(board.as_matrix, gathered)))
    else:
        click.echo(board.as_text(shown))
