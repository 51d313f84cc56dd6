"""Whatever a server says, each request ends, with an answer or one clear error."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scripted_server import good, serving, text_of
from test_batch_api import ask, batch_server

from evolcoder.errors import EvolcoderError
from evolcoder.models.endpoint.http_model import HttpModel
from evolcoder.models.endpoint.pricing import FixedPrice
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.protocol import Completion, Message, Request

_WATCHDOG_S = 120.0

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
errors = anything | st.fixed_dictionaries(
    {"message": anything, "code": st.sampled_from([429, "429", 500, 401, 400, "overloaded", None])}
)
part = st.fixed_dictionaries({"type": st.sampled_from(["text", "thinking", "reasoning", 3])}, optional={
    "text": anything, "thinking": anything, "reasoning": anything})  # fmt: skip
message = st.fixed_dictionaries({}, optional={
    "content": anything | st.lists(part, max_size=3), "refusal": anything, "reasoning_content": anything,
    "tool_calls": anything})  # fmt: skip
choice = st.fixed_dictionaries({}, optional={
    "message": message | anything, "delta": message | anything, "text": anything, "error": errors,
    "finish_reason": st.sampled_from(["stop", "length", "content_filter", "tool_calls", "abort", 7, None])
    })  # fmt: skip
usage = st.fixed_dictionaries({}, optional=dict.fromkeys(
    ("prompt_tokens", "completion_tokens", "total_tokens"), anything))  # fmt: skip
answer = st.fixed_dictionaries({}, optional={
    "choices": st.lists(choice | anything, max_size=2) | anything, "usage": usage | anything,
    "error": errors})  # fmt: skip
body = answer | anything
raw = body.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
often = settings(
    max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
"""Ten times 50 bodies."""


def fifty(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, min_size=50, max_size=50)


def ended_well(result: Any) -> bool:
    if isinstance(result, Completion):
        (result.text + result.reasoning).encode()  # no lone surrogates
        return result.prompt_tokens >= 0 and result.completion_tokens >= 0
    return isinstance(result, EvolcoderError)


def model_of(url: str) -> HttpModel:
    hasty = EndpointSettings(max_attempts=1, refused_retries=0, empty_retries=0, patience_s=5)
    return HttpModel("m", [url], hasty, price=FixedPrice(1e-6, 1e-6))


def request(i: int | str) -> Request:
    return Request((Message("user", str(i)),))


@often
@given(fifty(st.tuples(raw, st.sampled_from([200, 200, 200, 400, 500]))))
def test_whole_answers(bodies: list[tuple[bytes, int]]) -> None:
    def script(asked: dict[str, Any], n: int) -> web.Response:
        if (text := text_of(asked)) == "first":
            return good()
        data, status = bodies[int(text)]
        return web.Response(body=data, status=status, content_type="application/json")

    async def main() -> list[Any]:
        async with serving(script) as server, model_of(server.url) as model:
            await model.complete(request("first"))
            work = (model.complete(request(i)) for i in range(len(bodies)))
            return await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), _WATCHDOG_S)

    assert all(map(ended_well, asyncio.run(main())))


@often
@given(fifty(st.lists(raw, max_size=2)))
def test_answers_as_they_are_written(bodies: list[list[bytes]]) -> None:
    def script(asked: dict[str, Any], n: int) -> web.Response:
        if (text := text_of(asked)) == "first" or "stream" not in asked:
            return good()
        data = b"".join(b"data: " + event + b"\n\n" for event in bodies[int(text)])
        return web.Response(body=data, content_type="text/event-stream")

    async def last_part(model: HttpModel, i: int) -> Any:
        parts = [part async for part in model.stream(request(i))]
        return parts[-1].completion

    async def main() -> list[Any]:
        async with serving(script) as server, model_of(server.url) as model:
            await model.complete(request("first"))
            work = (last_part(model, i) for i in range(len(bodies)))
            return await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), _WATCHDOG_S)

    assert all(map(ended_well, asyncio.run(main())))


@settings(often, max_examples=2)
@given(fifty(body))
def test_answers_in_batches(tmp_path_factory: Any, bodies: list[Any]) -> None:
    path: Path = tmp_path_factory.mktemp("drawn") / "j.sqlite"

    async def main() -> list[Any]:
        async with batch_server() as server:
            server.answer = lambda asked: (200, bodies[int(text_of(asked))])
            work = ask(path, server.url, [str(i) for i in range(len(bodies))])
            return await asyncio.wait_for(work, _WATCHDOG_S)

    assert all(map(ended_well, asyncio.run(main())))
