"""Chat: what models are asked, two at a time, few in memory, failures told where they belong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.models.byte_llama import save_tiny_model
from tests.models.scripted_server import good, serving

from evolcoder.app.chat_page import (
    ChatSide,
    Turn,
    converse,
    model_choices,
    named_model,
    request_of,
    style_for,
)
from evolcoder.app.open_models import ModelName, OpenModels
from evolcoder.app.widgets import AppOptions
from evolcoder.errors import EndpointError, ModelError
from evolcoder.models.protocol import Completion, Message, Request, Sampling
from evolcoder.models.streaming import StreamPart
from evolcoder.report.run_folder import read_run

from .app_run import make_app_run


class Scripted:
    """A model that writes a few words, and knows whether it was closed."""

    def __init__(self, ref: str, **_: Any) -> None:
        if ref == "missing":
            raise ModelError("'missing' names no model")
        self.name, self.closed, self.written = ref, False, 0

    async def complete(self, request: Request) -> Completion:
        raise AssertionError("it can stream")

    async def stream(self, request: Request) -> AsyncGenerator[StreamPart, None]:
        text = ""
        for n in range(1000 if self.name == "endless" else 5):
            assert not self.closed
            await asyncio.sleep(0.002)
            if self.name == "broken" and n == 2:
                raise EndpointError("http://x: the answer broke off")
            text += f"{self.name} {n} "
            self.written += 1
            yield StreamPart(text)
        yield StreamPart(text, Completion(text, "length", 3, 5, seconds=0.01))

    async def close(self) -> None:
        self.closed = True


class Opened:
    """Opens scripted models and remembers them."""

    def __init__(self) -> None:
        self.models: list[Scripted] = []

    def __call__(self, ref: str, **arguments: Any) -> Scripted:
        self.models.append(Scripted(ref, **arguments))
        return self.models[-1]


def side(ref: str, *turns: Turn) -> ChatSide:
    return ChatSide(ModelName(ref), "chat", turns or (Turn("hello"),))


async def last_of(models: OpenModels, *sides: ChatSide) -> tuple[ChatSide, ...]:
    states = [state async for state in converse(models, sides, Sampling(), every_s=0.001)]
    return states[-1]


def test_two_models_answer_side_by_side() -> None:
    async def run() -> None:
        models = OpenModels(2, open_=Opened())
        both_writing = False
        async for left, right in converse(models, [side("a"), side("b")], Sampling(), every_s=0.001):
            both_writing |= left.turns[-1].state == right.turns[-1].state == "writing"
        assert both_writing
        assert left.turns[-1].answer.startswith("a 0 a 1") and right.turns[-1].answer.startswith("b 0")
        assert left.turns[-1].note == "5 tokens in 0.0 s, cut at the length limit"
        assert left.turns[-1].state == "done"

    asyncio.run(run())


def test_what_fails_on_one_side_leaves_the_other_alone() -> None:
    async def run() -> None:
        models = OpenModels(2, open_=Opened())
        good, broken = await last_of(models, side("a"), side("broken"))
        assert good.turns[-1].state == "done"
        assert broken.turns[-1].state == "failed" and "broke off" in broken.turns[-1].note
        assert broken.turns[-1].answer == "broken 0 broken 1 "
        (missing,) = await last_of(models, side("missing"))
        assert missing.turns[-1].note == "'missing' names no model"
        assert ModelName("missing") not in models.names

    asyncio.run(run())


def test_few_models_stay_and_none_is_closed_while_it_answers() -> None:
    async def run() -> None:
        opened = Opened()
        models = OpenModels(2, open_=opened)
        await asyncio.gather(*(last_of(models, side(name)) for name in "abcabcdd"))
        assert len(models.names) <= 2
        assert sum(not model.closed for model in opened.models) <= 2
        await last_of(models, side("e"), side("e"))
        assert [model.name for model in opened.models].count("e") == 1
        await models.close()
        assert all(model.closed for model in opened.models)

    asyncio.run(run())


def test_closing_a_conversation_stops_the_writing() -> None:
    async def run() -> None:
        opened = Opened()
        models = OpenModels(1, open_=opened)
        states = converse(models, [side("endless")], Sampling(), every_s=0.001)
        async for state in states:
            if state[0].turns[-1].answer:
                break
        await states.aclose()
        written = opened.models[0].written
        await asyncio.sleep(0.02)
        assert opened.models[0].written == written < 900
        (after,) = await asyncio.wait_for(last_of(models, side("next")), 90)
        assert after.turns[-1].state == "done"

    asyncio.run(run())


def test_a_chat_carries_its_finished_turns_and_the_method_s_prompt_one_instruction() -> None:
    turns = (Turn("one", "first", "done"), Turn("two", "half", "stopped"), Turn("three"))
    chat = request_of(side("a", *turns), Sampling())
    assert chat.prompt == (Message("user", "one"), Message("assistant", "first"), Message("user", "three"))
    single = request_of(ChatSide(ModelName("a"), "wizardcoder", turns), Sampling())
    assert isinstance(single.prompt, str) and single.prompt.endswith(
        "### Instruction:\nthree\n\n### Response:"
    )
    assert "one" not in single.prompt.split("### Instruction:")[1]


def test_a_run_offers_its_base_and_its_checkpoints(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=2)
    save_tiny_model(run / "round-2" / "checkpoint")
    choices = model_choices(read_run(run), ["openai:x"])
    best = read_run(run).result["best_round"]
    label = "round 2 (best)" if best == 2 else "round 2"
    assert choices == {
        "base (embedded)": "embedded",
        label: str(run / "round-2" / "checkpoint"),
        "openai:x": "openai:x",
    }
    assert model_choices(None) == {"embedded": "embedded"}


@pytest.mark.parametrize(("chat", "style"), [(True, "chat"), (False, "wizardcoder")])
def test_a_model_is_asked_by_its_template_where_it_has_one(tmp_path: Path, chat: bool, style: str) -> None:
    folder = str(save_tiny_model(tmp_path / "model", chat=chat))
    assert style_for(folder, "auto") == style
    assert style_for(folder, "wizardcoder") == "wizardcoder"
    assert style_for("openai:x", "auto") == style_for("some/name", "auto") == "chat"


def test_a_checkpoint_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=1)
    folder = str(save_tiny_model(run / "round-1" / "checkpoint"))
    assert style_for(folder, "auto", read_run(run)) == "wizardcoder"
    recipe = run / "recipe.yaml"
    plain = recipe.read_text()
    for style in ("chat", "wizardlm-7b", "wizardlm-13b"):
        recipe.write_text(plain.replace("train: {", f"train: {{prompt_style: {style}, "))
        assert style_for(folder, "auto", read_run(run)) == "chat"


STARTED = AppOptions(models=("openai:own", "openai:far@http://far/v1#FAR_KEY"), base_url="http://own/v1")


@pytest.mark.parametrize(
    ("ref", "url", "options", "asked", "keyed"),
    [
        ("openai:own", "http://evil/v1", STARTED, "http://own/v1", True),
        ("openai:far@http://far/v1#FAR_KEY", "http://evil/v1", STARTED, "http://own/v1", True),
        ("openai:x", "", STARTED, "http://own/v1", True),
        ("openai:x", "http://own/v1", STARTED, "http://own/v1", True),
        ("openai:x", "http://evil/v1", STARTED, "http://evil/v1", False),
        ("openai:x", "http://own/v1.evil", STARTED, "http://own/v1.evil", False),
        ("openai:x", "http://evil/v1", AppOptions(), "http://evil/v1", False),
        ("openai:x", "http://evil/v1", replace(STARTED, host="0.0.0.0"), "http://own/v1", True),
    ],
)
def test_keys_go_only_where_the_app_was_started_with(
    ref: str, url: str, options: AppOptions, asked: str, keyed: bool
) -> None:
    assert named_model(ref, url, options) == ModelName(ref, asked, keyed)


@pytest.mark.parametrize(
    ("ref", "url"),
    [
        ("openai:x@http://evil/v1", ""),
        ("openai:x@http://evil/v1#SECRET", ""),
        ("openai:x#SECRET", "http://own/v1"),
        ("openai:x,openai:y", "http://evil/v1"),
    ],
)
def test_the_page_names_no_address_and_no_variable_within_a_model(ref: str, url: str) -> None:
    with pytest.raises(ModelError, match="only openai:NAME is taken here"):
        named_model(ref, url, STARTED)
    with pytest.raises(ModelError, match="start the app with"):
        named_model("openai:x", "", AppOptions())


def test_an_address_named_in_the_page_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1234")
    heard: list[dict[str, str]] = []

    async def main() -> None:
        async with serving(lambda body, n: good()) as server:
            for keyed in (True, False):
                models = OpenModels()
                one = ChatSide(ModelName("openai:x", server.url, keyed), "chat", (Turn("hello"),))
                await last_of(models, one)
                await models.close()
            heard.extend(server.headers)

    asyncio.run(main())
    sent = [headers.get("Authorization") for headers in heard]
    assert set(sent) == {"Bearer sk-secret-1234", None} and sent[-1] is None
