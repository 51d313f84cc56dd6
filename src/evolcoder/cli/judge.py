"""`evolcoder judge`: the sandbox as a reward for other trainers."""

from __future__ import annotations

import json
import os
import secrets
from typing import Any

import click


@click.command()
@click.option("--serve", is_flag=True, help="Answer HTTP requests until stopped.")
@click.option("--port", type=int, default=8642, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--token-env", default="EVOLCODER_JUDGE_TOKEN",
    help="Environment variable with the token; one is made where it is not set."
)  # fmt: skip
@click.option("--workers", type=int, help="Programs judged at once.  [default: one a core]")
@click.option("--timeout", "cpu_s", type=float, default=3.0, help="CPU seconds a program.")
@click.option("--max-waiting", "most_waiting", type=int, default=20_000, help="Programs that may wait.")
@click.option(
    "--trusted-tests",
    is_flag=True,
    help="No model wrote the tests: one process runs those of many programs, at about half the cost.",
)
def command(serve: bool, port: int, host: str, token_env: str, cpu_s: float, **options: Any) -> None:
    """Judge batches of programs for other trainers, over HTTP; see docs/reinforce.md.

    \b
    Example:
      evolcoder judge --serve --port 0
    """
    import socket

    from aiohttp import web

    from evolcoder.reinforce.judge_server import JudgeServer
    from evolcoder.reinforce.settings import RewardSettings

    if not serve:
        raise click.UsageError("--serve is expected (one program is judged by evolcoder.judge in Python)")
    token = os.environ.get(token_env, "").strip() or secrets.token_urlsafe(24)
    listener = socket.create_server((host, port))
    with JudgeServer(token, RewardSettings(cpu_s=cpu_s), **options) as server:
        address = f"http://{host}:{listener.getsockname()[1]}"
        click.echo(json.dumps({"url": address, "token": token, "workers": server.workers}))
        web.run_app(server.app(), sock=listener, print=None, handle_signals=True)
