"""Chat with one model, or with two side by side: the form, and the answers as they are written."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from evolcoder.app.chatting import (
    DEFAULT_MAX_TOKENS,
    MOST_TEMPERATURE,
    MOST_TOKENS,
    STYLES,
    ChatOptions,
    ChatSide,
    Style,
    Turn,
    converse,
    model_choices,
    named_model,
    style_for,
)
from evolcoder.app.open_models import OpenModels
from evolcoder.app.shown_text import answer, notice, shown, tag
from evolcoder.app.widgets import render
from evolcoder.errors import ModelError
from evolcoder.models.protocol import Sampling
from evolcoder.report.run_folder import Run

_MOST_SIDES = 2
_MOST_QUESTION = 100_000
"""Characters."""


def chat_page(run: Run | None, options: ChatOptions) -> Markup:
    """Return the part of the page that asks models."""
    labels = list(model_choices(run, options.models))
    return render(
        "chat.html.j2",
        labels=labels,
        best=next((label for label in labels if label.endswith("(best)")), labels[-1]),
        any_model=options.any_model,
        base_url=options.base_url,
        styles=STYLES,
        most_temperature=MOST_TEMPERATURE,
        most_tokens=MOST_TOKENS,
        max_tokens=DEFAULT_MAX_TOKENS,
    )


async def chat_answers(
    asked: Mapping[str, Any], run: Run | None, models: OpenModels, options: ChatOptions
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
    heat = min(max(float(asked["temperature"]), 0.0), MOST_TEMPERATURE)
    sampling = Sampling(
        temperature=heat,
        top_p=min(max(float(asked["top_p"]), 0.05), 1.0) if heat > 0 else 1.0,
        max_tokens=min(max(int(asked["max_tokens"]), 1), MOST_TOKENS),
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
    options: ChatOptions,
) -> ChatSide:
    """Return one side's conversation so far; another model or prompt begins a new one."""
    if label not in known and not options.any_model:
        raise ModelError(f"{label}: not one of the models on offer")
    ref = known.get(label, label).strip()
    style: Style = next((style for style in STYLES if style == asked.get("style")), "auto")
    side = ChatSide(named_model(ref, str(asked.get("base_url") or ""), options), style_for(ref, style, run))
    if before.get("key") != _key(side):
        return side
    turns = tuple(
        Turn(**{name: turn[name] for name in ("question", "answer", "state")}) for turn in before["turns"]
    )
    return ChatSide(side.model, side.style, turns)


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
