"""`evolcoder app`: the web page of a run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", required=False, metavar="[RUN]", type=click.Path(path_type=Path))
@click.option(
    "--model", "-m", "models", multiple=True, help="Also offer this model in the chat (may be repeated)."
)
@click.option("--base-url", default="", help="Address of the OpenAI-compatible server, for openai:NAME.")
@click.option(
    "--answers",
    multiple=True,
    metavar="NAME=FILE",
    help="Answers of a model for a blind review: from `generate`, or samples of a benchmark (repeat it).",
)
@click.option(
    "--reviews",
    type=click.Path(path_type=Path),
    help="Folder of reviews and votes (default: RUN/reviews, or reviews without a run).",
)
@click.option(
    "--models-kept", type=click.IntRange(min=1), default=2, show_default=True, help="Most models in memory."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0: any free one."
)
def command(
    run: Path | None,
    models: tuple[str, ...],
    base_url: str,
    answers: tuple[str, ...],
    reviews: Path | None,
    models_kept: int,
    host: str,
    port: int,
) -> None:
    """Open RUN, finished or under way, as a web page on this machine: chat, data, problems, blind review.

    Without RUN there is the chat, and the review of answer files.

    \b
    Example:
      evolcoder app runs/quickstart
      evolcoder app --model embedded --model openai:NAME --base-url http://localhost:8000/v1
      evolcoder app --answers small=a.jsonl --answers large=b.jsonl
    """

    from evolcoder.app.review_sources import named_files
    from evolcoder.errors import require_packages

    require_packages("the app", "app", "gradio")
    files = named_files(answers)
    from evolcoder.app.site import AppOptions, serve

    options = AppOptions(
        run=run,
        models=models,
        base_url=base_url,
        answers=files,
        reviews=reviews or (run / "reviews" if run else Path("reviews")),
        host=host,
        port=port,
        models_kept=models_kept,
    )
    page, address = serve(options, wait=False)
    click.echo(f"{address}  (Ctrl-C ends it)")
    if not options.local_only:
        click.echo(
            f"note: whoever reaches {host} with this address can read the run and ask the models on offer",
            err=True,
        )
    page.block_thread()
