"""`evolcoder generate`: answer a file of instructions in batch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from evolcoder.cli.model_options import model_choice, model_options
from evolcoder.cli.options import columns_option, engine_option, overwrite_option, spend_options, spending
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
    help="The training prompt, or the model's chat template.",
)
@click.option(
    "--fields",
    type=click.Choice(["own", "wizardcoder"]),
    default="own",
    help="Write a row's own fields and its response, or the published script's id, instruction, wizardcoder.",
)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, help="0: greedy.")
@click.option("--top-p", type=click.FloatRange(min=0, min_open=True, max=1), default=1.0)
@click.option("--max-tokens", type=click.IntRange(min=1), default=2048)
@click.option("--seed", type=int, default=0)
@spend_options
@overwrite_option
@model_options
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    model: str, input_: Path, columns: dict[str, str], output: Path, as_json: bool, **options: Any
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
    from evolcoder.evaluate.batch_inference import BatchSummary, answer_batch, read_batch
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.opening import open_engine
    from evolcoder.output_files import holds_rows, output_file

    sampling = Sampling(**{name: options[name] for name in ("temperature", "top_p", "max_tokens", "seed")})
    choice = model_choice(model, options)
    journal = output.with_name(output.name + ".journal.sqlite")

    async def generate() -> BatchSummary:
        with open_engine(options["engine"]) as where:
            async with model_session(choice, journal, where, **spending(options)) as opened:
                how = (options["style"], output, progress_view(), options["fields"], columns)
                return await answer_batch(opened, rows, sampling, *how)

    with output_file(output, holds_rows(), input_, overwrite=options["overwrite"]):
        rows = read_batch(input_, columns, options["style"])
        summary = run_async(generate())
    if as_json:
        click.echo(json.dumps({"output": str(output), **asdict(summary)}))
    else:
        cut = f", {summary.cut} of them cut at {sampling.max_tokens} tokens" if summary.cut else ""
        none = f"; {summary.absent} rows got no answer, `absent` says why" if summary.absent else ""
        n = summary.rows - summary.absent
        click.echo(f"{output}: {n} answers of {summary.tokens} tokens{cut}{none}")
