"""The OpenAI-compatible server, asked by the `openai` client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from byte_llama import byte_tokenizer, save_tiny_model

from evolcoder.models.local.local_model import LocalModel
from evolcoder.models.local.prompt_tokens import prompt_limits
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Request, Sampling
from evolcoder.models.serving import application, serving

openai = pytest.importorskip("openai")
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save_tiny_model(tmp_path_factory.mktemp("served") / "model")
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return path


def asked(
    folder: Path, ask: Callable[[Any, LocalModel], Coroutine[Any, Any, None]], token: str | None
) -> None:
    async def run() -> None:
        async with (
            LocalModel(str(folder), LocalSettings(dtype="fp32")) as model,
            serving(application(model, "tiny", prompt_limits(str(folder)), token), "127.0.0.1", 0) as address,
            openai.AsyncOpenAI(base_url=address, api_key="secret", max_retries=0) as client,
        ):
            await ask(client, model)

    asyncio.run(run())


def test_the_client_gets_the_answers_of_the_model(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        assert [m.id async for m in client.models.list()] == ["tiny"]
        greedy: dict[str, Any] = {"model": "tiny", "temperature": 0, "max_tokens": 12}
        expected = await model.complete(Request("def f", Sampling(max_tokens=12)))
        text = await client.completions.create(prompt=["def f", "x"], **greedy)
        assert text.choices[0].text == expected.text and len(text.choices) == 2
        assert text.usage.completion_tokens > 0 and text.choices[0].finish_reason == expected.finish_reason

        messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
        chats = await asyncio.gather(
            *(client.chat.completions.create(messages=messages, n=2, **greedy) for _ in range(4))
        )
        same = (await model.complete(Request("user: hi\nassistant:", Sampling(max_tokens=12)))).text
        assert {c.message.content for chat in chats for c in chat.choices} == {same}

        parts = await client.chat.completions.create(
            messages=messages, stream=True, stream_options={"include_usage": True}, **greedy
        )
        heard, last = "", None
        async for part in parts:
            last = part
            heard += (part.choices[0].delta.content or "") if part.choices else ""
        assert heard == same and last.usage.completion_tokens > 0

    asked(folder, ask, None)


def test_what_cannot_be_answered_is_said_in_openai_s_form(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        with pytest.raises(openai.NotFoundError, match="'tiny' is served here"):
            await client.completions.create(model="other", prompt="x")
        with pytest.raises(openai.BadRequestError, match=r"messages\[0\]\.role"):
            await client.chat.completions.create(model="tiny", messages=[{"role": "tool", "content": "x"}])
        url = f"{client.base_url}completions"
        async with aiohttp.ClientSession() as session, session.post(url, data="{}") as refused:
            assert refused.status == 415  # as a form on a web page would ask
        odd = {"Content-Type": "application/json; charset=nothing"}
        async with aiohttp.ClientSession(headers=odd) as session, session.post(url, data="{}") as refused:
            assert refused.status == 400 and "nothing" in await refused.text()

    asked(folder, ask, None)


REFUSED: list[dict[str, Any]] = [
    {"temperature": 3},
    {"n": 0},
    {"n": 1.5},
    {"max_tokens": 0},
    {"max_tokens": 1.5},
    {"max_tokens": 100_000},
    {"stop": [1]},
    {"stop": ""},
    {"prompt": []},
    {"prompt": [1, 2]},
    {"seed": "x"},
    {"stream": "yes"},
    {"stream_options": {"include_usage": True}},
    {"logprobs": 0},
    {"echo": True},
    {"best_of": 3},
    {"suffix": "end"},
    {"logit_bias": {"5": 10}},
    {"frequency_penalty": 0.5},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"response_format": {"type": "json_object"}},
    {"top_k": 5},
]


def test_a_field_that_is_not_served_is_refused_by_its_name(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        for field in REFUSED:
            with pytest.raises(openai.BadRequestError, match=next(iter(field))):
                await client.completions.create(model="tiny", prompt="x", extra_body=field)
        neutral = {"tools": [], "response_format": {"type": "text"}, "presence_penalty": 0, "logprobs": None}
        await client.completions.create(model="tiny", prompt="x", max_tokens=1, extra_body=neutral, user="me")
        with pytest.raises(openai.BadRequestError, match="model: the name"):
            await client.post("/completions", body={"prompt": "x"}, cast_to=object)
        for messages in ([], [{"role": "user", "content": None}], ["x"]):
            with pytest.raises(openai.BadRequestError, match="messages"):
                await client.chat.completions.create(model="tiny", messages=messages)
        url = f"{client.base_url}completions"
        async with aiohttp.ClientSession() as session:
            for body in ("{", "[" * 100_000, "[]", b"\xff"):
                async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as got:
                    assert got.status == 400 and (await got.json())["error"]["message"]
            async with session.get(url) as got:
                assert got.status == 405

    asked(folder, ask, None)


def test_a_prompt_that_cannot_be_asked_fails_alone(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        refused, answered, long = await asyncio.gather(
            client.chat.completions.create(model="tiny", messages=[{"role": "system", "content": "x"}]),
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}]),
            client.completions.create(model="tiny", prompt="x" * 5000),
            return_exceptions=True,
        )
        assert isinstance(refused, openai.BadRequestError) and "no system turns" in refused.message
        assert isinstance(long, openai.BadRequestError) and long.code == "context_length_exceeded"
        assert answered.choices[0].message.role == "assistant"
        half = "\ud83d"  # as a browser may send it
        asks = {"chat/completions": {"messages": [{"role": "user", "content": half}]}}
        asks |= {"completions": {"prompt": half}}
        async with aiohttp.ClientSession() as session:
            for path, body in asks.items():
                body |= {"model": "tiny", "max_tokens": 2}
                async with session.post(f"{client.base_url}{path}", json=body) as got:
                    assert got.status == 200 and (await got.json())["choices"]

    asked(folder, ask, None)


def test_a_stream_is_what_the_client_s_own_accumulator_expects(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        messages = [{"role": "user", "content": "hi"}]
        settings: dict[str, Any] = {
            "model": "tiny",
            "messages": messages,
            "max_tokens": 60,
            "temperature": 1.5,
        }
        whole = await client.chat.completions.create(n=3, seed=5, **settings)
        async with client.chat.completions.stream(n=3, seed=5, **settings) as stream:
            async for _ in stream:
                pass
            heard = stream.current_completion_snapshot
        assert [c.message.content for c in heard.choices] == [c.message.content for c in whole.choices]
        assert {c.message.role for c in heard.choices} == {"assistant"}
        assert len({c.message.content for c in heard.choices}) > 1

    asked(folder, ask, None)


def test_a_stop_string_is_never_sent_nor_a_part_of_it(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        settings: dict[str, Any] = {"model": "tiny", "prompt": "def f", "temperature": 0, "max_tokens": 40}
        text = (await client.completions.create(**settings)).choices[0].text
        stop = text[5:8]
        whole = await client.completions.create(stop=[stop, "never"], **settings)
        assert whole.choices[0].text == text[: text.index(stop)] and whole.choices[0].finish_reason == "stop"
        heard = ""
        async for part in await client.completions.create(stop=stop, stream=True, **settings):
            heard += part.choices[0].text
        assert heard == whole.choices[0].text

    asked(folder, ask, None)


def test_characters_of_several_tokens_are_sent_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "é \N{SLIGHTLY SMILING FACE} \N{REPLACEMENT CHARACTER}z 日本"
    ids = byte_tokenizer()(text).input_ids
    written: list[int] = []

    def forced(logits_NV: Any, *_: Any) -> list[int]:
        written.append(ids[len(written)])
        return written[-1:]

    monkeypatch.setattr("evolcoder.models.local.decoding.choose_tokens", forced)
    monkeypatch.setattr("evolcoder.models.local.decoding._TELL_EVERY_S", 0)

    async def ask(client: Any, model: LocalModel) -> None:
        for n in range(1, len(ids)):  # ending inside a character, too
            written.clear()
            stream = await client.completions.create(model="tiny", prompt="x", max_tokens=n, stream=True)
            parts = [part.choices[0].text async for part in stream]
            assert "".join(parts) == byte_tokenizer().decode(ids[:n])

    asked(folder, ask, None)


def test_a_client_that_goes_away_stops_its_answer(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        settings: dict[str, Any] = {"model": "tiny", "temperature": 1.5, "max_tokens": 400}
        stream = await client.completions.create(prompt="x", stream=True, n=8, **settings)
        async for _ in stream:
            break
        await stream.close()
        after = await client.completions.create(prompt="y", **{**settings, "max_tokens": 3})
        assert after.choices[0].text is not None
        assert model.tokens_written < 8 * 400

    asked(folder, ask, None)


def test_a_token_is_asked_for(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        assert [m.id async for m in client.models.list()] == ["tiny"]
        stranger = client.with_options(api_key="another")
        with pytest.raises(openai.AuthenticationError, match="a token is expected"):
            await stranger.completions.create(model="tiny", prompt="x")
        async with aiohttp.ClientSession() as without:
            for path in ("models", "models/tiny", "no/such/path"):
                async with without.get(f"{client.base_url}{path}") as refused:
                    assert refused.status == 401
            body = {"model": "tiny", "prompt": "x"}
            async with without.post(f"{client.base_url}completions", json=body) as refused:
                assert refused.status == 401
        assert model.tokens_written == 0

    asked(folder, ask, "secret")
