"""A small OpenAI-compatible server in the test's own loop that answers as the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = web.StreamResponse
Script = Callable[[dict[str, Any], int], Awaitable[Answer] | Answer]


def good(text: str = "fine", finish: str = "stop", usage: tuple[int, int] = (10, 20)) -> web.Response:
    return web.json_response(
        {
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
            ],
            "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]},
        }
    )


def bad(status: int, message: str = "no", headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


def text_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


class Server:
    """Calls the script with each body and how often its text came before."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.seen: dict[str, int] = {}
        self.in_flight = self.most_in_flight = 0
        self.url = ""

    async def answer(self, http: web.Request) -> Answer:
        body = await http.json()
        key = json.dumps(body.get("messages", body.get("prompt")))
        n = self.seen.get(key, 0)
        self.seen[key] = n + 1
        self.bodies.append(body)
        self.paths.append(http.path_qs)
        self.headers.append(dict(http.headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.script(body, n)
            return await answer if asyncio.iscoroutine(answer) else answer  # type: ignore[return-value]
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def serving(script: Script):  # type: ignore[no-untyped-def]
    server = Server(script)
    async with answering(server.answer) as server.url:
        yield server


@asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[Answer]]):  # type: ignore[no-untyped-def]
    """Serve a handler under /v1 and yield that address."""
    app = web.Application()
    app.router.add_route("*", "/v1/{tail:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()
