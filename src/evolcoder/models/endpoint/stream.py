"""One answer of an OpenAI-compatible endpoint as it is written: server-sent events in, growing text out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal

import aiohttp
import orjson

from evolcoder.models.endpoint.address import Endpoint, address_of, masked, read_body
from evolcoder.models.endpoint.chat_format import Reply, read_reply

_LONGEST_LINE = 1 << 20
"""Bytes of one event beyond which the stream is taken as broken."""


class NoStreamError(Exception):
    """The endpoint did not begin an answer that can be followed; it may still give it whole."""


class BrokenStreamError(Exception):
    """The answer broke off in the middle."""


@dataclass(slots=True)
class _Heard:
    """What came so far."""

    text: str = ""
    finish: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    events: int = 0

    @property
    def reply(self) -> Reply:
        """The answer as a whole; where the endpoint counts no tokens, events stand for them."""
        return Reply(
            self.text, self.finish or "stop", self.prompt_tokens, self.completion_tokens or self.events
        )


async def follow(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    path: str,
    body: bytes,
    key: str | None,
    silent_s: float,
) -> AsyncGenerator[str | Reply, None]:
    """Yield the text so far at every event, and the whole reply last.

    Raises NoStreamError before the first text where the endpoint refuses or cannot be reached (ask it for
    the whole answer then, which says why), BrokenStreamError where the answer breaks off, is nonsense, or
    nothing comes for `silent_s` seconds.
    """
    heard = _Heard()
    try:
        async with session.post(
            address_of(endpoint.base_url, path),
            data=body,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=silent_s),
        ) as response:
            endpoint.answers += 1
            if response.status != 200:
                raise NoStreamError
            if response.content_type != "text/event-stream":
                reply = read_reply(await read_body(response))
                if not isinstance(reply, Reply):
                    raise NoStreamError
                yield reply
                return
            async for data in _events(response):
                if data == b"[DONE]":
                    break
                _take(heard, data)
                yield heard.text
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        text = masked(str(error) or type(error).__name__, key, endpoint.base_url)
        raise (BrokenStreamError(text) if heard.text else NoStreamError(text)) from error
    if not heard.events:
        raise NoStreamError
    yield heard.reply


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield the data of each event; comments and other fields are passed over."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise ValueError("an event longer than 1 MiB")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()


def _take(heard: _Heard, data: bytes) -> None:
    """Add one event; raises ValueError where it is no chunk of a completion."""
    event = orjson.loads(data)
    if not isinstance(event, dict) or event.get("error"):
        raise ValueError("the endpoint broke it off")
    usage = event.get("usage") or {}
    heard.prompt_tokens = int(usage.get("prompt_tokens") or heard.prompt_tokens)
    heard.completion_tokens = int(usage.get("completion_tokens") or heard.completion_tokens)
    for choice in event.get("choices") or ():
        piece = choice.get("text") if "delta" not in choice else (choice["delta"] or {}).get("content")
        if piece:
            heard.text += str(piece)
            heard.events += 1
        if choice.get("finish_reason"):
            heard.finish = "length" if choice["finish_reason"] == "length" else "stop"
            heard.events += not heard.events
