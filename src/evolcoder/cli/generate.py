"""`evolcoder generate`: answer a file of instructions in batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.engine_option import engine_option
from evolcoder.cli.model_options import local_model_options

if TYPE_CHECKING:
    from evolcoder.evaluate.batch_inference import BatchSummary, InferenceStyle
    from evolcoder.models.local.settings import LocalSettings
    from evolcoder.models.protocol import Sampling


@click.command()
@click.option(
    "--model", "-m", required=True, help="embedded, a folder, a GGUF file, a hub name, openai:NAME."
)
@click.option("--input", "input_", required=True, type=click.Path(path_type=Path), help="JSONL (gz by name).")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="JSONL (gz by name).")
@click.option("--base-url", help="Address of the OpenAI-compatible server, for openai:NAME.")
@click.option(
    "--style",
    type=click.Choice(["wizardcoder", "chat"]),
    default="wizardcoder",
    show_default=True,
    help="The training prompt, or the model's chat template.",
)
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0: greedy."
)
@click.option("--top-p", type=click.FloatRange(min=0, min_open=True, max=1), default=1.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=2048, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@local_model_options
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    model: str,
    input_: Path,
    output: Path,
    base_url: str | None,
    style: str,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    batch_size: int,
    dtype: str,
    replicas: int,
    engine: str,
    as_json: bool,
) -> None:
    """Answer the instructions of a file; each line comes back with its own fields and a response.

    A line is {"idx": 11, "Instruction": "Write a Python code to count 1 to 10."}. The same command
    continues where it was stopped: answers are kept in OUTPUT.journal.sqlite.

    \b
    Example:
      evolcoder generate --model embedded --input data.jsonl --output result.jsonl
      evolcoder generate -m openai:NAME --base-url http://localhost:8000/v1 --input a.jsonl --output b.jsonl
    """
    import asyncio
    import json
    from dataclasses import asdict
    from typing import cast

    from evolcoder.evaluate.batch_inference import read_batch
    from evolcoder.models.local.settings import Dtype, LocalSettings
    from evolcoder.models.protocol import Sampling

    rows = read_batch(input_)
    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    local = LocalSettings(dtype=cast(Dtype, dtype), batch_size=batch_size, replicas=replicas)
    summary = asyncio.run(
        _generate(model, base_url, rows, sampling, cast("InferenceStyle", style), local, output, engine)
    )
    if as_json:
        click.echo(json.dumps({"output": str(output), **asdict(summary)}))
    else:
        cut = f", {summary.cut} of them cut at {max_tokens} tokens" if summary.cut else ""
        click.echo(f"{output}: {summary.rows} answers of {summary.tokens} tokens{cut}")


async def _generate(
    model_name: str,
    base_url: str | None,
    rows: list[dict[str, Any]],
    sampling: Sampling,
    style: InferenceStyle,
    local: LocalSettings,
    output: Path,
    engine: str,
) -> BatchSummary:
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.evaluate.batch_inference import answer_batch
    from evolcoder.execution.engine import open_engine
    from evolcoder.models.cluster import on_cluster
    from evolcoder.models.journal.journal import Journal
    from evolcoder.models.opening import open_model

    async with Journal(output.with_name(output.name + ".journal.sqlite")) as journal:
        model = open_model(model_name, base_url=base_url, journal=journal, local=local)
        try:
            with open_engine(engine) as where, on_cluster(model, where):
                return await answer_batch(model, rows, sampling, style, output, progress_view())
        finally:
            await model.close()
