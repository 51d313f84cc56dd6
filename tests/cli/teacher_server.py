"""A small OpenAI-compatible server in a thread, whose faults a test plants by the text it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Reply = Callable[[str, str], str | None]
"""Takes (kind: "evolve" or "answer", last message) and returns a text to say instead, or None."""


def question_in(text: str) -> str:
    return text.split("\n\n", 2)[2].strip()


class TeacherServer:
    """Makes each question harder, answers each, and remembers who was asked what."""

    def __init__(self, plant: Reply) -> None:
        self.plant = plant
        self.asked: list[tuple[str, str, str]] = []
        """(model, kind, last message) of each request."""
        self.url = ""

    def answer(self, body: dict[str, Any]) -> str:
        text = str(body["messages"][-1]["content"])
        kind = "evolve" if "increase the difficulty" in text else "answer"
        self.asked.append((body["model"], kind, text))
        planted = self.plant(kind, text)
        if planted is not None:
            return planted
        if kind == "evolve":
            return f"{question_in(text)} It must also report {len(text)} errors by name."
        return "Here is how:\n```python\ndef solve(x):\n    return x\n```"


@contextmanager
def json_server(reply: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Iterator[str]:
    """Serve what `reply` makes of each request's body, 503 where that is None; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            told = reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            data = json.dumps(told or {"error": {"message": "busy"}}).encode()
            self.send_response(200 if told else 503)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def teacher_server(plant: Reply = lambda kind, text: None) -> Iterator[TeacherServer]:
    teacher = TeacherServer(plant)

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        text = teacher.answer(body)
        message = {"role": "assistant", "content": text}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": max(1, len(text) // 4)},
        }

    with json_server(reply) as teacher.url:
        yield teacher
