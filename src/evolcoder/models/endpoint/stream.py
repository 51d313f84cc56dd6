"""One answer of an OpenAI-compatible endpoint as it is written: server-sent events in, growing text out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import aiohttp

from evolcoder.models.endpoint import chat_format
from evolcoder.models.endpoint.address import Endpoint, address_of, masked, read_body
from evolcoder.models.endpoint.chat_format import UNTOLD, Billed, Reply
from evolcoder.models.protocol import FinishReason

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
    reasoning: str = ""
    finish: FinishReason | None = None
    billed: Billed = UNTOLD
    events: int = 0

    @property
    def reply(self) -> Reply:
        """The answer as a whole; where the endpoint counts no tokens, events stand for them."""
        billed = Billed(self.billed.prompt_tokens, self.billed.completion_tokens or self.events)
        return Reply(self.text, self.finish or "stop", billed, reasoning=self.reasoning)


async def follow(
    endpoint: Endpoint, path: str, body: bytes, silent_s: float
) -> AsyncGenerator[str | Reply, None]:
    """Yield the text so far at every event, and the whole reply last.

    Raises NoStreamError before the first text where the endpoint refuses or cannot be reached (ask it for
    the whole answer then, which says why), BrokenStreamError where the answer breaks off, is nonsense, or
    nothing comes for `silent_s` seconds.
    """
    heard = _Heard()
    try:
        async with endpoint.session.post(
            address_of(endpoint.connection.base_url, path),
            data=body,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=silent_s),
        ) as response:
            endpoint.answers += 1
            if response.status != 200:
                raise NoStreamError
            if response.content_type != "text/event-stream":
                reply = chat_format.read_reply(await read_body(response))
                if not isinstance(reply, Reply):
                    raise NoStreamError
                yield reply
                return
            async for data in _events(response):
                if data == b"[DONE]":
                    break
                _take(heard, data)
                yield heard.text
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
        connection = endpoint.connection
        text = masked(str(error) or type(error).__name__, connection.key, connection.base_url)
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
    """Add one event; raises ValueError where it is no chunk of a completion, or ends it as no answer."""
    event = chat_format.parsed(data)
    if not isinstance(event, dict) or event.get("error"):
        raise ValueError("the endpoint broke it off")
    billed = chat_format.billed_of(event.get("usage"))
    if billed.told:
        heard.billed = billed
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            raise ValueError("a choice that is none")
        delta = choice.get("delta", {"content": choice.get("text")})
        if isinstance(delta, dict):
            heard.reasoning += chat_format.reasoning_of(delta)
            if piece := chat_format.text_of(delta.get("content")):
                heard.text += piece
                heard.events += 1
        finish = chat_format.finish_of(choice)
        if finish is None:
            raise ValueError(f"it ended with {choice['finish_reason']!r}")
        if finish:
            heard.finish = finish
            heard.events += not heard.events
