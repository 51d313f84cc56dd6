"""`evolcoder decontaminate`: training rows that copy benchmark problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from evolcoder.cli.options import columns_option, engine_option, overwrite_option


@click.command()
@click.argument("data")
@columns_option
@click.option(
    "--benchmark", "-b", "benchmarks", multiple=True, help="Benchmark; humaneval and mbpp if absent."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the clean rows (JSONL).")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write hits as Markdown.")
@click.option(
    "--embedding",
    metavar="MODEL",
    help="Also compare by embedding: a folder, a hub name, or openai:NAME of a server's /embeddings.",
)
@click.option("--base-url", help="Server of --embedding openai:NAME.")
@click.option(
    "--similarity",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    help="Cosine from which --embedding calls a row a copy; depends on the model.",
)
@overwrite_option
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(data: str, out: Path | None, report: Path | None, as_json: bool, **options: Any) -> None:
    """Find rows of DATA that copy a benchmark problem, renamed identifiers and changed numbers included.

    \b
    Example:
      evolcoder decontaminate dataset.jsonl -b humaneval -b mbpp --out clean.jsonl --report hits.md
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.evaluate.benchmarks import problem_texts
    from evolcoder.evolve import contamination_report as contamination
    from evolcoder.evolve.row_files import RowFile
    from evolcoder.execution.opening import open_engine
    from evolcoder.output_files import begins_with, holds_rows, output_file

    rows, overwrite = RowFile(data, options["columns"]), options["overwrite"]
    problems = problem_texts(options["benchmarks"] or ("humaneval", "mbpp"))
    embed = None
    if options["embedding"] is not None:
        from evolcoder.models.embedding import open_embedder

        embed = open_embedder(options["embedding"], options["base_url"])
    with (
        output_file(out, holds_rows(), data, overwrite=overwrite),
        output_file(report, begins_with(contamination.REPORT_BEGINS), data, overwrite=overwrite),
        open_engine(options["engine"]) as where,
    ):
        found = (rows, problems, out, progress_view(), where, embed, options["similarity"])
        result = contamination.decontaminate(*found)
        if report is not None:
            contamination.write_contamination_report(report, result)
    if as_json:
        hits = [
            {"row": h.row_id, "benchmark": h.benchmark, "task_id": h.task_id, "how": h.how}
            | {"text_share": h.text_share, "code_share": h.code_share, "examples_share": h.examples_share}
            | ({"similarity": h.similarity} if h.how == "embedding" else {})
            for h in result.hits
        ]
        click.echo(json.dumps({"rows": result.rows, "kept": result.kept, "hits": hits}))
        return
    for hit in result.hits:
        where_found = (
            f"{hit.row_id}  {hit.benchmark} {hit.task_id}  {hit.how}: {contamination.measures_of(hit)}"
        )
        click.echo(f"{where_found}  {hit.row_text[:70]!r}")
    click.echo(f"{result.rows} rows, {result.rows - result.kept} copy one of {result.problems} problems")
