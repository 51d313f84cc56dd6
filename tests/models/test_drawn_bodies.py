"""Whatever a server says, each request ends, with an answer or one clear error."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scripted_server import answering, good, serving, text_of
from test_batch_api import ask, batch_server

from evolcoder.errors import EvolcoderError
from evolcoder.models.embedding import open_embedder
from evolcoder.models.endpoint.http_model import HttpModel
from evolcoder.models.endpoint.pricing import FixedPrice
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.journal.totals import Batch
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
    hasty = EndpointSettings(max_attempts=1, refused_retries=0, empty_retries=0, patience_s=0.5)
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


state = st.fixed_dictionaries({}, optional={
    "status": st.sampled_from(["completed", "failed", "expired", "validating", "odd", None]), "id": anything,
    "output_file_id": st.just("output") | anything, "error_file_id": st.just("output") | anything,
    "errors": anything, "error": errors, "data": st.lists(anything, max_size=2) | anything,
    "has_more": anything, "metadata": anything})  # fmt: skip
line = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": st.sampled_from(["00" * 16, "no hex"]) | anything,
        "error": errors,
        "response": st.fixed_dictionaries({}, optional={"status_code": anything, "body": body}) | anything,
    },
)


@settings(often, max_examples=50)
@given(st.lists(raw | state.map(lambda value: json.dumps(value).encode()), max_size=6),
       st.lists(raw | line.map(lambda value: json.dumps(value).encode()), max_size=4))  # fmt: skip
def test_files_and_states_of_batches(tmp_path_factory: Any, states: list[bytes], lines: list[bytes]) -> None:
    """Ten drawn bodies in all places a batch is asked about, and a batch that an earlier sitting left."""
    path: Path = tmp_path_factory.mktemp("drawn") / "j.sqlite"

    async def answer(http: web.Request) -> web.Response:
        if http.path.endswith("/content"):
            return web.Response(body=b"\n".join(lines))
        if http.method == "POST" and http.path.endswith("/files"):
            return web.json_response({"id": "input"})
        if states:
            return web.Response(body=states.pop(0), content_type="application/json")
        return web.json_response({"id": "b", "status": "completed", "output_file_id": "output", "data": []})

    async def main() -> list[Any]:
        async with answering(answer) as url:
            async with Journal(path) as journal:
                await journal.record_batch(Batch(url, "left", "b", "submitted", 1))
            return await asyncio.wait_for(ask(path, url, ["a"]), _WATCHDOG_S)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("evolcoder.models.endpoint.batch_service._FIRST_PAUSE_S", 0.0)
        patched.setattr("evolcoder.models.endpoint.batch_api._QUIET_S", 0.0)
        assert all(map(ended_well, asyncio.run(main())))


number = st.floats() | st.integers(-(10**20), 10**400) | anything
vector = st.fixed_dictionaries(
    {}, optional={"index": st.integers(0, 2) | anything, "embedding": st.lists(number, max_size=3) | anything}
)
embeddings = st.fixed_dictionaries({}, optional={"data": st.lists(vector, max_size=2) | anything})


@settings(often, max_examples=4)
@given(fifty(raw | embeddings.map(lambda value: json.dumps(value).encode())))
def test_embeddings(bodies: list[bytes]) -> None:
    async def answer(http: web.Request) -> web.Response:
        (text,) = (await http.json())["input"]
        return web.Response(body=bodies[int(text)], content_type="application/json")

    async def one(url: str, text: str) -> Any:
        return await asyncio.to_thread(open_embedder("openai:m", url), [text])

    async def main() -> list[Any]:
        async with answering(answer) as url:
            work = asyncio.gather(*(one(url, str(i)) for i in range(len(bodies))), return_exceptions=True)
            return await asyncio.wait_for(work, _WATCHDOG_S)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("evolcoder.models.embedding._ATTEMPTS", 1)
        for found in asyncio.run(main()):
            vectors_of_length_one = isinstance(found, np.ndarray) and np.isfinite(found).all()
            assert vectors_of_length_one or isinstance(found, EvolcoderError)


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
