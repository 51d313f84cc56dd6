"""An answer as it is written, for the chat. Evolution and evaluation ask for whole answers instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from evolcoder.models.protocol import Completion, LanguageModel, Request


@dataclass(frozen=True, slots=True)
class StreamPart:
    """How far an answer has come."""

    text: str
    """The answer so far, from its beginning."""
    completion: Completion | None = None
    """The whole answer with what it cost, in the last part; None before."""


@runtime_checkable
class StreamingModel(Protocol):
    """A model that tells of an answer while it writes it."""

    def stream(self, request: Request) -> AsyncGenerator[StreamPart, None]:
        """Yield the answer so far again and again, the whole of it last; closing it stops the writing."""
        ...


async def stream_answer(model: LanguageModel, request: Request) -> AsyncGenerator[StreamPart, None]:
    """Yield one answer as it grows, at once where the model tells no sooner; raises what the model raises."""
    if isinstance(model, StreamingModel):
        async with aclosing(model.stream(request)) as parts:
            async for part in parts:
                yield part
        return
    completion = await model.complete(request)
    yield StreamPart(completion.text, completion)


async def heard_parts(
    ask: Callable[[Callable[[str], None]], Coroutine[Any, Any, Completion]],
) -> AsyncGenerator[StreamPart, None]:
    """Yield what `ask` hears, from whatever thread, and what it returns; closing it cancels the request.

    A text that comes while the one before it was not taken yet replaces it.
    """
    loop = asyncio.get_running_loop()
    newest, changed = "", asyncio.Event()

    def take(text: str) -> None:
        nonlocal newest
        newest = text
        changed.set()

    def hear(text: str) -> None:
        loop.call_soon_threadsafe(take, text)

    asking = loop.create_task(ask(hear))
    asking.add_done_callback(lambda _: changed.set())
    try:
        while True:
            await changed.wait()
            changed.clear()
            if asking.done():
                break
            yield StreamPart(newest)
        completion = asking.result()
        yield StreamPart(completion.text, completion)
    finally:
        if not asking.cancel() and not asking.cancelled():
            asking.exception()  # taken note of, though nobody reads on
