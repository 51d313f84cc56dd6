"""Chat with one model, or two side by side: the form, the conversation, the answers as they are written."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from evolcoder.app.open_models import ModelName, OpenModels
from evolcoder.app.widgets import AppOptions, answer, notice, render, shown, tag
from evolcoder.errors import EvolcoderError, ModelError
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.opening import is_remote
from evolcoder.models.protocol import Message, Request, Sampling
from evolcoder.models.streaming import stream_answer
from evolcoder.report.run_folder import Run
from evolcoder.report.table import round_name

Style = Literal["auto", "wizardcoder", "chat"]
STYLES: tuple[Style, ...] = ("auto", "wizardcoder", "chat")
_MAX_TOKENS = 1024
"""As the published demo: greedy, 1024 new tokens at most, up to 2048 by its slider."""
_MOST_TOKENS = 2048
_MOST_TEMPERATURE = 1.0
_MOST_SIDES = 2
_MOST_QUESTION = 100_000
"""Characters."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what came of it so far."""

    question: str
    answer: str = ""
    state: Literal["waiting", "writing", "done", "stopped", "failed"] = "waiting"
    note: str = ""
    """Tokens and seconds when done; what went wrong when failed."""


@dataclass(frozen=True, slots=True)
class ChatSide:
    """One model of a conversation."""

    model: ModelName
    style: Literal["wizardcoder", "chat"]
    turns: tuple[Turn, ...] = ()

    def asked(self, question: str) -> ChatSide:
        """Return the conversation with one more question."""
        return replace(self, turns=(*self.turns, Turn(question)))


def model_choices(run: Run | None, more: Sequence[str] = ()) -> dict[str, str]:
    """Return the models to choose from: label -> MODEL string; a run's base and checkpoints first."""
    choices: dict[str, str] = {}
    if run is not None:
        base = run.recipe.get("base")
        if isinstance(base, Mapping) and base.get("model"):
            choices[f"base ({base['model']})"] = str(base["model"])
        best = run.result.get("best_round")
        for round_ in run.rounds:
            checkpoint = round_.folder / "checkpoint"
            if (checkpoint / "config.json").exists():
                label = round_name(round_.number) + (" (best)" if round_.number == best else "")
                choices[label] = str(checkpoint)
    for ref in more:
        choices[ref] = ref
    return choices or {"embedded": "embedded"}


def named_model(ref: str, url: str, options: AppOptions) -> ModelName:
    """Return the model that the page, or the run's recipe, names by a MODEL string and an address.

    Keys go only to what the app was started with: its own MODEL strings, at its own address. Raises
    ModelError for a string that names an address or an environment variable itself, and where the usual
    address, which needs a key, would be asked.
    """
    if ref in options.models:
        return ModelName(ref, options.base_url)
    if not is_remote(ref):
        return ModelName(ref)
    if any(sign in ref for sign in "@#,*"):
        raise ModelError(f"{ref}: only openai:NAME is taken here; start the app with --model for all else")
    url = url.strip() if options.local_only else options.base_url
    if not (url or options.base_url):
        raise ModelError(f"{ref}: its endpoint is not named; start the app with --model {ref} or --base-url")
    return ModelName(ref, url or options.base_url, keyed=url in ("", options.base_url))


def style_for(ref: str, asked: Style, run: Run | None = None) -> Literal["wizardcoder", "chat"]:
    """Return how a model is asked: as a checkpoint of the run was trained, else by its chat template.

    A folder without a chat template is asked with the method's own prompt; a model behind an endpoint or
    with a name of the hub by its template.
    """
    if asked != "auto":
        return asked
    folder = Path(ref)
    if run is not None and folder.name == "checkpoint" and folder.parent in [r.folder for r in run.rounds]:
        train = run.recipe.get("train")
        style = train.get("prompt_style") if isinstance(train, Mapping) else None
        # Training writes the template of every style into the checkpoint, the WizardLM ones too.
        return "wizardcoder" if style in (None, "wizardcoder") else "chat"
    if is_remote(ref) or not folder.is_dir():
        return "chat"
    if (folder / "chat_template.jinja").exists():
        return "chat"
    with suppress(OSError, ValueError):
        if "chat_template" in json.loads((folder / "tokenizer_config.json").read_bytes()):
            return "chat"
    return "wizardcoder"


def request_of(side: ChatSide, sampling: Sampling) -> Request:
    """Return what is asked: a chat with its finished turns, or the method's prompt with one question."""
    question = side.turns[-1].question
    if side.style == "wizardcoder":
        return Request(instruction_prompt(question), sampling)
    messages: list[Message] = []
    for turn in side.turns[:-1]:
        if turn.state == "done":
            messages += [Message("user", turn.question), Message("assistant", turn.answer)]
    return Request((*messages, Message("user", question)), sampling)


async def converse(
    models: OpenModels, sides: Sequence[ChatSide], sampling: Sampling, every_s: float = 0.1
) -> AsyncGenerator[tuple[ChatSide, ...], None]:
    """Have every side answer its last turn at the same time; yield all sides whenever an answer has grown.

    At most one yield in `every_s` seconds, and the last one with everything in it. What goes wrong with one
    model stands in its turn and leaves the others alone. When the generator is closed, all answers end.
    """
    now = list(sides)
    changed = asyncio.Event()

    async def reply(at: int) -> None:
        try:
            async with aclosing(_turns(models, sides[at], sampling)) as turns:
                async for turn in turns:
                    now[at] = replace(now[at], turns=(*now[at].turns[:-1], turn))
                    changed.set()
        finally:
            changed.set()

    answers = asyncio.gather(*map(reply, range(len(sides))))
    try:
        yield tuple(now)
        while not answers.done():
            await changed.wait()
            changed.clear()
            yield tuple(now)
            await asyncio.wait([answers], timeout=every_s)
        answers.result()
        yield tuple(now)
    finally:
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)


async def _turns(models: OpenModels, side: ChatSide, sampling: Sampling) -> AsyncGenerator[Turn, None]:
    turn = side.turns[-1]
    try:
        async with (
            models.borrowed(side.model) as model,
            aclosing(stream_answer(model, request_of(side, sampling))) as parts,
        ):
            async for part in parts:
                turn = replace(turn, answer=part.text, state="writing")
                if (done := part.completion) is not None:
                    cut = ", cut at the length limit" if done.finish_reason == "length" else ""
                    note = f"{done.completion_tokens} tokens in {done.seconds:.1f} s{cut}"
                    turn = replace(turn, state="done", note=note)
                yield turn
    except EvolcoderError as error:
        yield replace(turn, state="failed", note=str(error))
    except MemoryError:
        yield replace(turn, state="failed", note="out of memory; close another model or take a smaller one")


def chat_page(run: Run | None, options: AppOptions) -> Markup:
    """Return the part of the page that asks models."""
    labels = list(model_choices(run, options.models))
    return render(
        "chat.html.j2",
        labels=labels,
        best=next((label for label in labels if label.endswith("(best)")), labels[-1]),
        any_model=options.local_only,
        base_url=options.base_url,
        styles=STYLES,
        most_temperature=_MOST_TEMPERATURE,
        most_tokens=_MOST_TOKENS,
        max_tokens=_MAX_TOKENS,
    )


async def chat_answers(
    asked: Mapping[str, Any], run: Run | None, models: OpenModels, options: AppOptions
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the conversation, each time that an answer has grown: how it looks, and what to send back with
    the next question. `asked` comes from the page. Raises ModelError for a model that is not on offer,
    ValueError for a setting that is none.
    """
    question = str(asked.get("question") or "").strip()[:_MOST_QUESTION]
    labels = [str(label) for label in asked["models"] if label][:_MOST_SIDES]
    if not question or not labels:
        return
    before = list(asked.get("sides") or [])
    known = model_choices(run, options.models)
    sides = tuple(
        _side(label, known, asked, before[at] if at < len(before) else {}, run, options).asked(question)
        for at, label in enumerate(labels)
    )
    heat = min(max(float(asked["temperature"]), 0.0), _MOST_TEMPERATURE)
    sampling = Sampling(
        temperature=heat,
        top_p=min(max(float(asked["top_p"]), 0.05), 1.0) if heat > 0 else 1.0,
        max_tokens=min(max(int(asked["max_tokens"]), 1), _MOST_TOKENS),
        seed=secrets.randbelow(2**31) if heat > 0 else 0,
    )
    async with aclosing(converse(models, sides, sampling)) as states:
        async for now in states:
            yield {
                "panes": [str(pane_html(side, label)) for side, label in zip(now, labels, strict=True)],
                "sides": [{"key": _key(side), "turns": list(map(asdict, side.turns))} for side in now],
            }


def _side(
    label: str,
    known: Mapping[str, str],
    asked: Mapping[str, Any],
    before: Mapping[str, Any],
    run: Run | None,
    options: AppOptions,
) -> ChatSide:
    """Return one side's conversation so far; another model or prompt begins a new one."""
    if label not in known and not options.local_only:
        raise ModelError(f"{label}: not one of the models on offer")
    ref = known.get(label, label).strip()
    style: Style = next((style for style in STYLES if style == asked.get("style")), "auto")
    side = ChatSide(named_model(ref, str(asked.get("base_url") or ""), options), style_for(ref, style, run))
    if before.get("key") != _key(side):
        return side
    turns = tuple(Turn(turn["question"], turn["answer"], turn["state"]) for turn in before["turns"])
    return replace(side, turns=turns)


def _key(side: ChatSide) -> list[object]:
    return [side.model.ref, side.model.base_url, side.style]


def pane_html(side: ChatSide, label: str) -> Markup:
    """Return one model's side of the conversation."""
    head = Markup("<h2>{} {}</h2>").format(shown(label, 120), tag(f"{side.style} prompt", "plain"))
    return head + Markup("").join(map(_turn, side.turns))


def _turn(turn: Turn) -> Markup:
    said = answer(turn.answer) if turn.answer else Markup("")
    if turn.state == "failed":
        said += notice(turn.note, "bad")
    note = {
        "waiting": "waiting for the model; it loads at its first question …",
        "writing": "writing …",
        "stopped": "stopped",
        "done": turn.note or "done",
    }.get(turn.state, "")
    return Markup(
        '<div class="turn {}"><p class="question">{}</p>{}<p class="soft small state">{}</p></div>'
    ).format(turn.state, shown(turn.question), said, shown(note, 300))
