"""A server on bare sockets whose answers are odd in one way each; it knows what it bills for each."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

BILL = (100, 50)
"""Tokens that an answer is billed for."""


def chat(text: Any = "fine", finish: Any = "stop", usage: Any = BILL, **more: Any) -> dict[str, Any]:
    told = {"prompt_tokens": usage[0], "completion_tokens": usage[1]} if isinstance(usage, tuple) else usage
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"choices": [choice], "usage": told, **more}


def http(body: Any, status: int = 200, headers: dict[str, Any] | None = None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Connection": "close", "Content-Length": len(data)}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data


def error(message: str, status: int, code: Any = None, **headers: Any) -> bytes:
    body = {"error": {"message": message, "code": code}}
    return http(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def in_chunks(data: bytes, whole: bool) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n" % len(data) + (data + b"\r\n0\r\n\r\n" if whole else data[: len(data) // 2])


def events(*pieces: str, usage: Any = None) -> bytes:
    said = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    told = [*said, {"choices": [], "usage": usage}] if usage else said
    return b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in told) + b"data: [DONE]\n\n"


def date(seconds: float, of: float | None = None) -> str:
    return email.utils.formatdate((time.time() if of is None else of) + seconds, usegmt=True)


def second(first: bytes) -> Callable[[int], bytes]:
    """The first asking of each request is answered otherwise."""
    return lambda n: first if n == 0 else http(chat())


USAGE = {"prompt_tokens": 100, "completion_tokens": 50}
OVER = {"index": 1, "message": {"content": "the other"}, "finish_reason": "stop"}
LATER = {**USAGE, "completion_tokens": 5000}
DATA = json.dumps(chat()).encode()
ANSWERED: dict[str, Callable[[int], bytes]] = {
    "usage in strings": lambda n: http(chat(usage={"prompt_tokens": "100", "completion_tokens": "50"})),
    "usage with fractions": lambda n: http(chat(usage={"prompt_tokens": 100.0, "completion_tokens": 49.7})),
    "usage under other names": lambda n: http(chat(usage={"input_tokens": 100, "output_tokens": 50})),
    "usage in total": lambda n: http(chat(usage={"total_tokens": 150})),
    "no usage": lambda n: http(chat(usage=None)),
    "usage of nothing": lambda n: http(chat(usage={"prompt_tokens": 0, "completion_tokens": 0})),
    "usage below nothing": lambda n: http(chat(usage={"prompt_tokens": -100, "completion_tokens": 50})),
    "usage of the prompt alone": lambda n: http(chat(usage={"prompt_tokens": 100})),
    "usage that is no answer's": lambda n: http(chat(usage={"prompt_tokens": 100, "completion_tokens": 0})),
    "usage that is true": lambda n: http(chat(usage={"prompt_tokens": True, "completion_tokens": True})),
    "tokens of a cache apart": lambda n: http(
        chat(usage={"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 50})
    ),
    "thinking apart": lambda n: http(
        chat(usage={**USAGE, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 40}})
    ),
    "usage that is no number": lambda n: http(chat(usage={"prompt_tokens": "many", "completion_tokens": 50})),
    "usage without end": lambda n: http(chat(usage={"prompt_tokens": 1e99, "completion_tokens": 50})),
    "cached tokens below nothing": lambda n: http(
        chat(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": -7}})
    ),
    "no reason to stop": lambda n: http({"choices": [{"message": {"content": "fine"}}], "usage": USAGE}),
    "choices out of order": lambda n: http({**chat(), "choices": [OVER, *chat()["choices"]]}),
    "something before the choice": lambda n: http({**chat(), "choices": [None, *chat()["choices"]]}),
    "packed": lambda n: http(gzip.compress(DATA), headers={"Content-Encoding": "gzip"}),
    "http/1.0 without length": lambda n: b"HTTP/1.0 200 OK\r\n\r\n" + DATA,
    "rewritten by a proxy": lambda n: http(chat(), 203),
    "below a long header": lambda n: http(chat(), headers={"X-Trace": "a" * 100_000}),
    "chunked": lambda n: in_chunks(DATA, whole=True),
    "cut in the middle once": second(in_chunks(DATA, whole=False)),
    "cut without length once": second(b"HTTP/1.0 200 OK\r\n\r\n" + DATA[:40]),
    "packed with a wrong length": lambda n: http(
        gzip.compress(DATA), headers={"Content-Encoding": "gzip", "Content-Length": 500}
    ),
    "with a wrong length": lambda n: http(chat(), headers={"Content-Length": len(DATA) + 7}),
    "chunked without an end": lambda n: in_chunks(DATA, whole=True).removesuffix(b"0\r\n\r\n"),
    "packed and cut once": second(
        http(gzip.compress(DATA)[:-30], headers={"Content-Encoding": "gzip", "Content-Length": 500})
    ),
    "hangs up once": second(b""),
    "gateway that gives up once": second(error("time-out", 504)),
    "slow down, no word when": second(error("slow down", 429)),
    "slow down for nan": second(error("slow down", 429, Retry_After="nan")),
    "slow down, unreadable": second(error("slow down", 429, retry_after_ms="soon", Retry_After="1 minute")),
    "slow down until long ago": second(error("slow down", 429, Retry_After=date(-1e6))),
    "slow down by a clock of its own": lambda n: (
        error("slow down", 429, Retry_After=date(1, of=2e9), Date=date(0, of=2e9)) if n == 0 else http(chat())
    ),
}
"""Ways in which an answer comes all the same."""
UNTOLD = {name for name in ANSWERED if name.startswith(("no usage", "usage of", "usage below", "usage that"))}
UNTOLD |= {name for name in ANSWERED if name.endswith(("without end", "once"))}
"""Those whose tokens, of some reply at least, nobody tells."""
NEVER: dict[str, tuple[bytes, str]] = {
    "events": (http(events("fi", "ne")), "data:"),
    "events with usage": (http(events("fine", usage=LATER)), "data:"),
    "a list of answers": (http([chat()]), "found list"),
    "an error in a list": (http([{"error": {"message": "no such region"}}]), "no such region"),
    "an error in a list, refused": (http([{"error": {"message": "no such region"}}], 400), "no such region"),
    "a wrong key": (error("bad key", 401), "bad key"),
    "no money": (error("no money", 402), "no money"),
    "a redirect": (http(b"", 307, {"Location": "http://localhost:1/v1"}), "name that address"),
    "a redirect within": (http(b"", 308, {"Location": "/v2/chat"}), "moved to http://127.0.0.1:"),
    "several errors": (http({"errors": ["no such region"]}, 400), "no such region"),
    "a promise": (http({"status": "accepted"}, 202), "accepted"),
    "wait for years": (error("slow down", 429, Retry_After=date(1e8)), "slow down"),
    "wait for ever": (error("slow down", 429, Retry_After="inf"), "slow down"),
    "a page": (http(b"<html>Please log in</html>"), "log in"),
    "no choices": (http({**chat(), "choices": []}), "no choice"),
    "choices of nothing": (http({**chat(), "choices": [None, 3]}), "no choice"),
    "aborted": (http(chat("fi", "abort")), "abort"),
    **{
        f"packed unasked by {name}": (http(DATA, headers={"Content-Encoding": name}), "content-encoding")
        for name in ("br", "zstd")
    },
}
"""What an address says that never answers, and what is told of it."""


class OddServer:
    """Answers as the mode says, and counts askings and tokens."""

    def __init__(self, mode: Callable[[int], bytes]) -> None:
        self.mode = mode
        self.refusals: dict[str, bytes] = {}
        """What single texts are always told."""
        self.asked: Counter[str] = Counter()
        self.billed = 0
        """Tokens of all answers; a refusal is for nothing, but not a gateway's that gave up."""
        self.url = ""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            n_bytes = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            text = json.loads(await reader.readexactly(n_bytes))["messages"][-1]["content"]
            answer = self.refusals.get(text) or self.mode(self.asked[text])
            self.asked[text] += 1
            self.billed += sum(BILL) * (answer[9:12] in (b"200", b"203", b"504", b""))
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def odd_server(mode: Callable[[int], bytes]) -> AsyncIterator[OddServer]:
    odd = OddServer(mode)
    server = await asyncio.start_server(odd.connected, "127.0.0.1", 0)
    odd.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield odd
    finally:
        server.close()
