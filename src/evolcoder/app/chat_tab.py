"""Chat with one model, or with two side by side."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from markupsafe import Markup

from evolcoder.app.chatting import (
    DEFAULT_MAX_TOKENS,
    MOST_TEMPERATURE,
    MOST_TOKENS,
    STYLES,
    ChatOptions,
    ChatSide,
    Turn,
    converse,
    model_choices,
    named_model,
    style_for,
)
from evolcoder.app.open_models import OpenModels
from evolcoder.app.run_view import RunView
from evolcoder.app.shown_text import answer, notice, shown, tag
from evolcoder.app.widgets import html_view
from evolcoder.errors import ModelError
from evolcoder.models.protocol import Sampling

NOBODY = "(none)"
_GREETING = Markup('<p class="soft">Ask something; the model loads at its first question.</p>')


def chat_tab(view: RunView | None, models: OpenModels, options: ChatOptions, page: gr.Blocks) -> None:
    """Build the tab inside the present block; `page` fills it when it loads."""
    conversation = gr.State(())
    under_way: dict[str | None, _Answering] = {}
    with gr.Row(elem_classes=["filters"]):
        first = gr.Dropdown(
            [],
            label="Model",
            allow_custom_value=options.any_model,
            elem_id="chat-model",
            elem_classes=["long"],
        )
        second = gr.Dropdown(
            [NOBODY],
            label="Beside it",
            allow_custom_value=options.any_model,
            elem_id="chat-second",
            elem_classes=["long"],
        )
        temperature = gr.Slider(0, MOST_TEMPERATURE, value=0, step=0.05, label="Temperature (0: greedy)")
        most = gr.Slider(1, MOST_TOKENS, value=DEFAULT_MAX_TOKENS, step=1, label="Max tokens")
    with gr.Accordion("More settings", open=False), gr.Row(elem_classes=["filters"]):
        style = gr.Dropdown(
            [(name, name) for name in STYLES],
            value="auto",
            label="Prompt",
            info="wizardcoder: the method's prompt, one instruction at a time; chat: the model's template",
        )
        top_p = gr.Slider(0.05, 1, value=1, step=0.05, label="Top p", info="counts above temperature 0")
        base_url = gr.Textbox(
            value=options.base_url,
            label="Endpoint",
            placeholder="http://127.0.0.1:8000/v1",
            info="for openai:NAME typed above; keys go only to the address that the app was started with",
            interactive=options.any_model,
        )
    with gr.Row(elem_classes=["split", "panes"]):
        with gr.Column(min_width=320):
            left = html_view(_GREETING, elem_id="chat-left")
        with gr.Column(min_width=320, visible=False) as beside:
            right = html_view(elem_id="chat-right")
    question = gr.Textbox(
        label="Instruction",
        lines=3,
        max_lines=12,
        placeholder="Write a Python function that ... (Shift+Enter sends)",
        elem_id="chat-question",
    )
    with gr.Row(elem_classes=["actions"]):
        send = gr.Button("Send", variant="primary", elem_id="chat-send")
        stop = gr.Button("Stop", elem_id="chat-stop")
        clear = gr.Button("New chat", elem_id="chat-clear")

    def choices() -> dict[str, str]:
        return model_choices(view.run() if view else None, options.models)

    def load() -> tuple[Any, Any]:
        labels = list(choices())
        best = next((label for label in labels if label.endswith("(best)")), labels[-1])
        return gr.Dropdown(labels, value=best), gr.Dropdown([NOBODY, *labels], value=NOBODY)

    def side_of(label: str, asked_style: Any, url: str, before: Sequence[ChatSide], at: int) -> ChatSide:
        known = choices()
        if label not in known and not options.any_model:
            raise gr.Error(f"{label}: not one of the models on offer", print_exception=False)
        ref = known.get(label, label).strip()
        try:
            name = named_model(ref, url, options)
        except ModelError as error:
            raise gr.Error(str(error), print_exception=False) from error
        side = ChatSide(name, style_for(ref, asked_style, view.run() if view else None))
        same = len(before) > at and (before[at].model, before[at].style) == (side.model, side.style)
        return before[at] if same else side

    async def ask(
        text: str,
        before: tuple[ChatSide, ...],
        label: str | None,
        label_beside: str | None,
        heat: float,
        most_tokens: float,
        asked_style: Any,
        nucleus: float,
        url: str,
        visit: gr.Request,
    ) -> AsyncGenerator[tuple[Any, ...], None]:
        labels = [label or "", label_beside or NOBODY]
        labels = labels[:1] if labels[1] in (NOBODY, "") else labels
        if not text.strip() or not labels[0]:
            yield (gr.skip(),) * 5
            return
        sides = tuple(
            side_of(label, asked_style, url or "", before, at).asked(text.strip())
            for at, label in enumerate(labels)
        )
        sampling = Sampling(
            temperature=float(heat),
            top_p=float(nucleus) if heat > 0 else 1.0,
            max_tokens=int(most_tokens),
            seed=secrets.randbelow(2**31) if heat > 0 else 0,
        )
        # The page gets what one event yields in order, but not what two events yield. So Stop and New chat
        # only tell the answer that it ends; the answer itself writes the last state of the panes.
        running = under_way[visit.session_hash] = _Answering()
        try:
            yield _shown(sides, labels, "")
            async with aclosing(converse(models, sides, sampling, running.halted)) as states:
                async for sides in states:
                    yield _emptied() if running.forgotten else _shown(sides, labels, gr.skip())
        finally:
            if under_way.get(visit.session_hash) is running:
                del under_way[visit.session_hash]

    async def halt(visit: gr.Request) -> None:
        if running := under_way.get(visit.session_hash):
            running.halted.set()

    async def forget(visit: gr.Request) -> tuple[Any, ...]:
        if running := under_way.get(visit.session_hash):
            running.forgotten = True
            running.halted.set()
        return _emptied()

    page.load(load, None, [first, second], show_progress="hidden")
    asked = [question, conversation, first, second, temperature, most, style, top_p, base_url]
    told = [conversation, left, right, beside, question]
    for trigger in (send.click, question.submit):
        trigger(ask, asked, told, show_progress="hidden", concurrency_limit=8)
    stop.click(halt, None, None, show_progress="hidden", queue=False)
    clear.click(forget, None, told, show_progress="hidden", queue=False)


@dataclass(slots=True)
class _Answering:
    """One visitor's question on its way, and how it is told to end."""

    halted: asyncio.Event = field(default_factory=asyncio.Event)
    forgotten: bool = False
    """Whether nothing of the conversation shall stay."""


def _emptied() -> tuple[Any, ...]:
    return (), str(_GREETING), "", gr.Column(visible=False), ""


def _shown(sides: Sequence[ChatSide], labels: Sequence[str], question: Any) -> tuple[Any, ...]:
    """Return conversation, left, right, whether there is a right one, and the text field."""
    panes = [str(pane_html(side, label)) for side, label in zip(sides, labels, strict=False)]
    two = len(panes) > 1
    return (
        tuple(sides),
        panes[0] if panes else gr.skip(),
        panes[1] if two else "",
        gr.Column(visible=two),
        question,
    )


def pane_html(side: ChatSide, label: str) -> Markup:
    """Return one model's side of the conversation."""
    turns = Markup("").join(map(_turn, side.turns))
    head = Markup("<h3>{} {}</h3>").format(shown(label, 120), tag(f"{side.style} prompt", "plain"))
    return Markup('<div class="pane">{}{}</div>').format(head, turns)


def _turn(turn: Turn) -> Markup:
    said = answer(turn.answer) if turn.answer else Markup("")
    if turn.state == "failed":
        said += notice(turn.note)
    note = {
        "waiting": "waiting for the model; it loads at its first question …",
        "writing": "writing …",
        "stopped": "stopped",
        "done": turn.note or "done",
    }.get(turn.state, "")
    return Markup(
        '<div class="turn {}"><p class="question">{}</p>{}<p class="soft small state">{}</p></div>'
    ).format(turn.state, shown(turn.question), said, shown(note, 300))
