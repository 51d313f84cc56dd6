"""The few widgets that every part of the app uses, and how a press inside HTML reaches Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from evolcoder.app.shown_text import shown

PICK = "data-pick"
_TELL_PICKS = f"""element.addEventListener('click', event => {{
  const picked = event.target.closest('[{PICK}]');
  if (picked) trigger('click', {{pick: picked.getAttribute('{PICK}')}});
}});"""
_NOTHING = "null"


def html_view(value: Markup | str = "", elem_id: str | None = None, *, picks: bool = False) -> gr.HTML:
    """Return a place for HTML made by `shown_text`; with `picks`, its buttons tell which was pressed."""
    return gr.HTML(
        str(value),
        elem_id=elem_id,
        elem_classes=["shown"],
        js_on_load=_TELL_PICKS if picks else _NOTHING,
        apply_default_css=False,
    )


def pick_button(value: object, inside: Markup, css: str = "", *, chosen: bool = False) -> Markup:
    """Return a button of an `html_view(picks=True)` that tells `value` when it is pressed."""
    return Markup('<button type="button" class="pick {}" {}="{}"{}>{}</button>').format(
        css, Markup(PICK), str(value), Markup(' aria-current="true"') if chosen else "", inside
    )


def picked(event: gr.EventData) -> str:
    """Return what the pressed button tells."""
    return str(event._data.get("pick", "")) if isinstance(event._data, dict) else ""


def pager_text(first: int, shown_now: int, total: int, what: str) -> Markup:
    """Return "1–20 of 1,234 rows"."""
    if not total:
        return Markup('<p class="soft">No {} match.</p>').format(what)
    return Markup('<p class="soft">{:,}–{:,} of {:,} {}</p>').format(
        first + 1, first + shown_now, total, what
    )


def pager(name: str, back: str = "← Back", on: str = "On →") -> tuple[gr.Button, gr.Button]:
    """Return two buttons side by side that turn the pages, `NAME-back` and `NAME-on` in the page."""
    with gr.Row(elem_classes=["pager"]):
        return gr.Button(back, size="sm", elem_id=f"{name}-back"), gr.Button(
            on, size="sm", elem_id=f"{name}-on"
        )


def choices_with_any(values: Sequence[tuple[str, Any]], any_label: str) -> list[tuple[str, Any]]:
    """Return dropdown choices that begin with one that asks for nothing."""
    return [(any_label, ""), *values]


def error_html(error: Exception) -> str:
    """Return what went wrong as a sentence on the page."""
    return str(Markup('<p class="notice bad">{}</p>').format(shown(error, 1000)))
