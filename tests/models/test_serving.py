"""The OpenAI-compatible server, asked by the `openai` client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from byte_llama import save_tiny_model

from evolcoder.models.local.local_model import LocalModel
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Request, Sampling
from evolcoder.models.serving import application, serving

openai = pytest.importorskip("openai")
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


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
            serving(application(model, "tiny", token), "127.0.0.1", 0) as address,
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
        for field in ({"temperature": 3}, {"n": 0}, {"stop": [1]}, {"prompt": []}):
            with pytest.raises(openai.BadRequestError, match=next(iter(field))):
                await client.completions.create(**{"model": "tiny", "prompt": "x", **field})
        with pytest.raises(openai.BadRequestError, match=r"messages\[0\]\.role"):
            await client.chat.completions.create(model="tiny", messages=[{"role": "tool", "content": "x"}])
        url = f"{client.base_url}completions"
        async with aiohttp.ClientSession() as session, session.post(url, data="{}") as refused:
            assert refused.status == 415  # as a form on a web page would ask

    asked(folder, ask, None)


def test_a_token_is_asked_for(folder: Path) -> None:
    async def ask(client: Any, model: LocalModel) -> None:
        assert [m.id async for m in client.models.list()] == ["tiny"]
        stranger = client.with_options(api_key="another")
        with pytest.raises(openai.AuthenticationError, match="a token is expected"):
            await stranger.completions.create(model="tiny", prompt="x")

    asked(folder, ask, "secret")
