"""An answer that is read while it is written: growing, the same in the end, stopped when nobody reads on."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evolcoder.errors import EndpointError
from evolcoder.models.endpoint.http_model import HttpModel
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.local.local_model import LocalModel
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Completion, Message, Request, Sampling
from evolcoder.models.streaming import StreamPart, stream_answer

from .byte_llama import save_tiny_model
from .scripted_server import bad, good, serving

ASK = Request((Message("user", "tell me"),), Sampling(max_tokens=400))


async def parts_of(model: Any, request: Request) -> list[StreamPart]:
    return [part async for part in stream_answer(model, request)]


def check_grows(parts: list[StreamPart]) -> None:
    texts = [part.text for part in parts]
    assert all(late.startswith(early) for early, late in itertools.pairwise(texts))
    assert [part.completion is not None for part in parts] == [False] * (len(parts) - 1) + [True]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("streamed") / "model")


def test_a_local_answer_grows_to_what_is_given_whole(tiny: Path) -> None:
    request = Request("def f(", Sampling(max_tokens=300, temperature=1.0, seed=3))

    async def both() -> tuple[list[StreamPart], Completion]:
        model = LocalModel(str(tiny), LocalSettings(dtype="fp32"))
        try:
            return await parts_of(model, request), await model.complete(request)
        finally:
            await model.close()

    parts, whole = asyncio.run(both())
    check_grows(parts)
    assert len(parts) > 2
    assert (parts[-1].text, parts[-1].completion.completion_tokens) == (whole.text, whole.completion_tokens)  # type: ignore[union-attr]


def test_two_local_answers_are_written_side_by_side(tiny: Path) -> None:
    async def both() -> list[str]:
        model = LocalModel(str(tiny), LocalSettings(dtype="fp32"))
        order: list[str] = []

        async def read(name: str) -> None:
            async for _ in stream_answer(model, Request(name, Sampling(max_tokens=300, temperature=1.0))):
                order.append(name)

        try:
            await asyncio.gather(read("a"), read("b"))
        finally:
            await model.close()
        return order

    order = asyncio.run(both())
    assert order.index("b") < len(order) - 1 - order[::-1].index("a")


def test_a_local_answer_that_nobody_reads_on_is_not_written_on(tiny: Path) -> None:
    async def read_a_little() -> int:
        model = LocalModel(str(tiny), LocalSettings(dtype="fp32"))
        try:
            async with aclosing(
                model.stream(Request("x", Sampling(max_tokens=500, temperature=1.0)))
            ) as parts:
                async for _ in parts:
                    break
            await model.complete(Request("y", Sampling(max_tokens=2)))
            return model.tokens_written
        finally:
            await model.close()

    assert asyncio.run(read_a_little()) < 400


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(text: str, finish: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


async def sent(pieces: list[bytes], http: web.Request | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0.01)


def streaming(pieces: list[bytes]) -> web.Response:
    return web.Response(body=sent(pieces), content_type="text/event-stream")


def ask(script: Any) -> tuple[list[StreamPart], list[dict[str, Any]]]:
    async def run() -> tuple[list[StreamPart], list[dict[str, Any]]]:
        async with serving(script) as server:
            model = HttpModel("m", [server.url], EndpointSettings(max_attempts=2, patience_s=0.2))
            try:
                return await parts_of(model, ASK), server.bodies
            finally:
                await model.close()

    return asyncio.run(run())


def test_an_endpoint_s_events_grow_into_the_answer() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
    whole = chunk("naïve ") + b": a comment\n\n" + chunk("answer") + chunk("", "length") + event(usage)
    pieces = [whole[:40], whole[40:41], whole[41:], b"data: [DONE]\n\n"]
    parts, bodies = ask(lambda body, n: streaming(pieces))
    check_grows(parts)
    completion = parts[-1].completion
    assert completion is not None and completion.text == "naïve answer"
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 9)
    assert [body["stream"] for body in bodies] == [True]


def test_an_endpoint_that_gives_it_whole_is_taken_as_it_is() -> None:
    parts, bodies = ask(lambda body, n: good("whole"))
    assert [part.text for part in parts] == ["whole"] and len(bodies) == 1


def test_an_endpoint_that_refuses_to_stream_is_asked_for_the_whole() -> None:
    parts, bodies = ask(lambda body, n: bad(400, "no stream") if body.get("stream") else good("whole"))
    assert [part.text for part in parts] == ["whole"]
    assert ["stream" in body for body in bodies] == [True, False]


@pytest.mark.parametrize("rest", [b"data: {broken\n\n", event({"error": {"message": "oops"}})])
def test_an_answer_that_breaks_off_is_an_error_and_not_the_answer(rest: bytes) -> None:
    with pytest.raises(EndpointError, match="broke off"):
        ask(lambda body, n: streaming([chunk("half an ans"), rest]))


def test_a_model_that_cannot_stream_answers_at_once() -> None:
    class Plain:
        name = "plain"

        async def complete(self, request: Request) -> Completion:
            return Completion("all", "stop", 1, 1)

        async def close(self) -> None:
            pass

    parts = asyncio.run(parts_of(Plain(), ASK))
    assert [(part.text, part.completion is not None) for part in parts] == [("all", True)]


def test_an_event_without_end_is_refused() -> None:
    with pytest.raises(EndpointError, match="broke off"):
        ask(lambda body, n: streaming([chunk("a"), b"data: " + b"x" * 700_000, b"y" * 700_000]))
