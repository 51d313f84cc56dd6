"""`evolcoder benchmark`: make a private benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.model_options import model_choice, model_options
from evolcoder.cli.options import code_options, code_settings, engine_option, overwrite_option, spending
from evolcoder.errors import DataError
from evolcoder.models.session import model_session
from evolcoder.runs import check_output_folder

if TYPE_CHECKING:
    from evolcoder.code_base.private_benchmark import BenchmarkCounts


@click.group()
def command() -> None:
    """Make a benchmark from what you have.

    \b
    Example:
      evolcoder benchmark from-code ~/my-project --teacher embedded --out mine
    """


@command.command("from-code")
@click.argument("places", nargs=-1, required=True, metavar="PATH-OR-GIT-URL...")
@click.option("--teacher", required=True, metavar="MODEL", help="Writes the calls that test; as for evolve.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@code_options
@click.option("--max-tokens", type=click.IntRange(min=1), default=1024)
@click.option("--dry-run", is_flag=True, help="Send nothing; print what would be sent.")
@overwrite_option
@model_options
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def from_code(
    places: tuple[str, ...], teacher: str, out: Path, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Make a benchmark of the Python functions that `seeds from-code` holds out: from docstring to function.

    Tests are calls with what the function itself returns. A problem is kept only if the function passes, and
    an empty body and changed ones fail. OUT/private_benchmark.py is a benchmark file as any other.

    \b
    Example:
      evolcoder benchmark from-code ~/my-project --teacher openai:gpt-4.1-mini --out mine
      evolcoder evaluate --model embedded --benchmark mine/private_benchmark.py --style chat --out scores
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.code_base.choice import CodeCounts, counted, held_out_functions
    from evolcoder.code_base.private_benchmark import FILE_NAME, KIND, private_benchmark, requests_for
    from evolcoder.code_base.source_files import names_of, opened_code_bases
    from evolcoder.evolve.settings import EvolveSettings
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.opening import open_engine

    check_output_folder(out, KIND, overwrite=options["overwrite"])
    read = CodeCounts()
    with opened_code_bases(places) as code_bases:
        held_out = list(held_out_functions(code_bases, code_settings(options), read))
    if dry_run:
        texts = requests_for(held_out, options["limit"])
        click.echo(json.dumps({"sent": texts}) if as_json else "\n\n──\n".join(texts))
        return
    choice = model_choice(teacher, options, options["timeout_s"])
    how = {name: options[name] for name in ("max_tokens", "seed")}
    asking = EvolveSettings(temperature=0.0, **how, rows_in_flight=2 * options["concurrency"])

    async def make() -> BenchmarkCounts:
        journal = out.with_name(f"{out.name}.journal.sqlite")
        with open_engine(options["engine"]) as engine:
            async with model_session(choice, journal, engine, **spending(options)) as model:
                return await private_benchmark(
                    held_out, read, model, asking, out, progress_view(), limit=options["limit"], engine=engine
                )

    counts = run_async(make())
    told = (
        f"{counts.held_out} functions held out, {counts.asked} asked about, {counts.problems} problems; "
        f"left out: {counted(counts.left_out)}"
    )
    if not counts.problems:
        raise DataError(f"no function of {names_of(code_bases)} makes a problem: {told}")
    if as_json:
        click.echo(json.dumps({"benchmark": str(out / FILE_NAME), **counts.plain()}))
        return
    click.echo(told)
    click.echo(f"{out / FILE_NAME}")
