"""`evolcoder app`: the web page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("run", required=False, metavar="[RUN]", type=click.Path(path_type=Path))
@click.option(
    "--model", "-m", "models", multiple=True, help="Also offer this model in the chat (may be repeated)."
)
@click.option(
    "--base-url",
    default="",
    show_default=False,
    help="Address of the OpenAI-compatible server, for openai:NAME.",
)
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
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    help="Folder of other runs to show, and of those that are started from the page.",
)
@click.option("--models-kept", type=click.IntRange(min=1), default=2, help="Most models in memory.")
@click.option("--host", default="127.0.0.1", help="Address to serve on.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, help="0: any free one.")
def command(run: Path | None, answers: tuple[str, ...], reviews: Path | None, **options: Any) -> None:
    """Open RUN, finished or under way, as a web page on this machine: live view, data, problems, chat.

    Without RUN it shows the runs of the folder of runs. New ones are started, watched, stopped and continued
    from the page.

    \b
    Example:
      evolcoder app runs/quickstart
      evolcoder app --model embedded --model openai:NAME --base-url http://localhost:8000/v1
      evolcoder app --answers small=a.jsonl --answers large=b.jsonl
    """
    from evolcoder.app.review_page import named_files
    from evolcoder.app.site import serve
    from evolcoder.app.widgets import AppOptions

    reviews = reviews or (run / "reviews" if run else Path("reviews"))
    chosen = AppOptions(run=run, answers=named_files(answers), reviews=reviews, **options)
    served = serve(chosen)
    click.echo(f"{served.address}  (Ctrl-C ends it)")
    if not chosen.local_only:
        told = "with this address can read the run and ask the models on offer"
        click.echo(f"note: whoever reaches {chosen.host} {told}", err=True)
    served.wait()
