"""`evolcoder serve`: a model behind an OpenAI-compatible API."""

from __future__ import annotations

import ipaddress
import secrets
from typing import Any

import click

from evolcoder.errors import UserError
from evolcoder.models.local.settings import LocalSettings


@click.command()
@click.argument("model")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0: any free one.")
@click.option("--name", help="The model's name in the API.  [default: MODEL]")
@click.option(
    "--token",
    envvar="EVOLCODER_SERVE_TOKEN",
    help="Asked of every request; made up and printed where the address is not loopback.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=LocalSettings().batch_size, help="Answers at once."
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    help="Number format of the weights.",
)
def command(model: str, host: str, port: int, name: str | None, token: str | None, **local: Any) -> None:
    """Serve MODEL (embedded, a folder, a GGUF file, a hub name, vllm:NAME) until Ctrl-C.

    \b
    Example:
      evolcoder serve model --port 8000
      curl http://127.0.0.1:8000/v1/models
    """
    import asyncio

    from evolcoder.execution.event_loop import run_async
    from evolcoder.models.local.engine import VLLM_PREFIX
    from evolcoder.models.local.local_model import LocalModel
    from evolcoder.models.local.prompt_tokens import prompt_limits
    from evolcoder.models.serving import application, serving

    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False  # a name: where it leads is not known here
    made_up = token is None and not loopback
    token = secrets.token_urlsafe(24) if made_up else token or None

    limits = prompt_limits(model.removeprefix(VLLM_PREFIX))

    async def serve() -> None:
        async with LocalModel(model, LocalSettings(**local)) as opened:
            app = application(opened, name or model, limits, token)
            async with serving(app, host, port) as address:
                click.echo(f"{name or model} at {address}" + (f", token {token}" if made_up else ""))
                await asyncio.Event().wait()

    try:
        run_async(serve())
    except OSError as error:
        raise UserError(f"{host}:{port}: cannot be listened on ({error.strerror or error})") from error
