"""`evolcoder data`: look into a data set, and write it in other formats."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from evolcoder.cli.options import columns_option, overwrite_option


@click.group()
def command() -> None:
    """Look into a data set, or write it in another format.

    \b
    Example:
      evolcoder data stats evolved/dataset.jsonl
      evolcoder data tree evolved/dataset.jsonl 4f1c
      evolcoder data export evolved/dataset.jsonl --to chat --out chat.jsonl
    """


@command.command()
@click.argument("data")
@columns_option
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def stats(data: str, columns: dict[str, str], as_json: bool) -> None:
    """Count the rows of DATA by round, method, teacher and verdict."""
    from evolcoder.evolve.data_stats import stats_of_rows, table_lines
    from evolcoder.evolve.row_files import RowFile

    found = stats_of_rows(RowFile(data, columns))
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo(f"{found.rows} rows of {found.trees} seeds, {found.without_response} without a response")
    if found.tokens:
        click.echo(f"{found.tokens} tokens, {found.usd:.4f} US dollars")
    for title, counts in (
        ("rows by round", found.rounds),
        ("mean characters of an instruction by round", found.instruction_chars),
        ("mean characters of a response by round", found.response_chars),
        ("rows by method", found.methods),
        ("rows by teacher", found.teachers),
        ("rows by verdict", found.verdicts),
    ):
        if counts:
            click.echo("\n".join(table_lines(title, counts)))


@command.command()
@click.argument("data")
@columns_option
@click.option("-n", "count", type=click.IntRange(min=1), default=3)
@click.option("--seed", type=int, default=0)
@click.option("--json", "as_json", is_flag=True, help="Print one row a line as JSON.")
def samples(data: str, columns: dict[str, str], count: int, seed: int, as_json: bool) -> None:
    """Show some rows of DATA, chosen at random by --seed."""
    from evolcoder.evolve.data_stats import sample_rows
    from evolcoder.evolve.row_files import RowFile
    from evolcoder.instructions import row_from_instruction

    for row in sample_rows(RowFile(data, columns), count, seed):
        if as_json:
            click.echo(json.dumps(row_from_instruction(row), ensure_ascii=False))
            continue
        how = f"round {row.lineage.round}, {row.lineage.method}" if row.lineage.method else "seed"
        click.echo(f"── {row.id}  {how}")
        question = [part for part in (row.instruction, row.input) if part]
        click.echo("\n".join([*question, "", row.response, ""]))


@command.command()
@click.argument("data")
@columns_option
@click.argument("row_id")
def tree(data: str, columns: dict[str, str], row_id: str) -> None:
    """Show the whole tree of the seed that ROW_ID (or the beginning of it) belongs to."""
    from evolcoder.evolve.data_stats import tree_lines, tree_of
    from evolcoder.evolve.row_files import RowFile

    click.echo("\n".join(tree_lines(tree_of(RowFile(data, columns), row_id))))


@command.command()
@click.argument("data")
@columns_option
@click.option("--to", "form", type=click.Choice(["alpaca", "chat", "parquet", "hub"]), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--name", help="Title of the data card (hub).")
@click.option("--seeds", help="Name of the seed set, for the card (hub); absent: as evolve noted.")
@click.option("--licence", help="Licence of the seeds, for the card (hub); absent: as known for their name.")
@click.option(
    "--checked",
    multiple=True,
    help="Benchmark the rows were decontaminated against; absent: as evolve noted.",
)
@overwrite_option
def export(
    data: str, columns: dict[str, str], form: str, out: Path, name: str | None, overwrite: bool, **facts: Any
) -> None:
    """Write DATA as alpaca JSON, chat messages, Parquet, or a folder ready for the Hugging Face hub."""
    from evolcoder.evolve.exports import HUB_EXPORT, facts_beside, write_alpaca, write_chat, write_hub_folder
    from evolcoder.evolve.row_files import RowFile
    from evolcoder.instructions import write_instructions
    from evolcoder.output_files import holds_rows, output_file
    from evolcoder.runs import check_output_folder

    rows = RowFile(data, columns)
    if form == "hub":
        check_output_folder(out, HUB_EXPORT, overwrite=overwrite)
        count = write_hub_folder(out, rows, facts_beside(Path(data), name or out.name, **facts))
    else:
        write = {"alpaca": write_alpaca, "chat": write_chat, "parquet": write_instructions}[form]
        with output_file(out, holds_rows(), data, overwrite=overwrite):
            count = write(out, rows)
    click.echo(f"{count} rows -> {out}")
