"""`evolcoder generate`: answer a file of instructions in batch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from evolcoder.cli.model_options import model_choice, model_options
from evolcoder.cli.options import (
    columns_option,
    engine_option,
    max_requests_option,
    max_usd_option,
    overwrite_option,
)
from evolcoder.models.protocol import Sampling
from evolcoder.models.session import model_session


@click.command()
@click.option(
    "--model", "-m", required=True, help="embedded, a folder, a GGUF file, a hub name, openai:NAME."
)
@click.option(
    "--input",
    "input_",
    required=True,
    type=click.Path(path_type=Path),
    help="File of rows (docs/formats.md).",
)
@columns_option
@click.option("--output", required=True, type=click.Path(path_type=Path), help="JSONL (gz by name).")
@click.option(
    "--style",
    type=click.Choice(["wizardcoder", "chat"]),
    default="wizardcoder",
    show_default=True,
    help="The training prompt, or the model's chat template.",
)
@click.option(
    "--fields",
    type=click.Choice(["own", "wizardcoder"]),
    default="own",
    show_default=True,
    help="Write a row's own fields and its response, or the published script's id, instruction, wizardcoder.",
)
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0: greedy."
)
@click.option("--top-p", type=click.FloatRange(min=0, min_open=True, max=1), default=1.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=2048, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@max_usd_option
@max_requests_option
@overwrite_option
@model_options
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    model: str,
    input_: Path,
    columns: dict[str, str],
    output: Path,
    style: str,
    fields: str,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    max_usd: float | None,
    max_requests: int | None,
    overwrite: bool,
    engine: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer the instructions of a file; each line comes back with its own fields and a response.

    A line is {"idx": 11, "Instruction": "Write a Python code to count 1 to 10."}. The same command
    continues where it was stopped: answers are kept in OUTPUT.journal.sqlite.

    \b
    Example:
      evolcoder generate --model embedded --input data.jsonl --output result.jsonl
      evolcoder generate -m openai:NAME --base-url http://localhost:8000/v1 --input a.jsonl --output b.jsonl
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.evaluate.batch_inference import (
        BatchSummary,
        InferenceStyle,
        OutputFields,
        answer_batch,
        read_batch,
    )
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.opening import open_engine
    from evolcoder.output_files import holds_rows, output_file

    how = cast("InferenceStyle", style)
    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    choice = model_choice(model, options)
    journal = output.with_name(output.name + ".journal.sqlite")

    async def generate() -> BatchSummary:
        with open_engine(engine) as where:
            async with model_session(
                choice, journal, where, max_usd=max_usd, max_requests=max_requests
            ) as opened:
                named = cast("OutputFields", fields)
                return await answer_batch(
                    opened, rows, sampling, how, output, progress_view(), named, columns
                )

    with output_file(output, holds_rows(), input_, overwrite=overwrite):
        rows = read_batch(input_, columns, how)
        summary = run_async(generate())
    if as_json:
        click.echo(json.dumps({"output": str(output), **asdict(summary)}))
    else:
        cut = f", {summary.cut} of them cut at {max_tokens} tokens" if summary.cut else ""
        click.echo(f"{output}: {summary.rows} answers of {summary.tokens} tokens{cut}")
