"""The styles in which a model is asked, and what prompts of a style have in common.

`wizardcoder` is what the published scripts ask, quirks included (their problem text has a tab for every four
spaces), so that published scores reproduce. `chat` asks in plain words through the model's own chat template.
`completion` lets a base model go on where the prompt stops. What is asked about a problem is made by its
benchmark (`Benchmark.ask`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, get_args

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.settings import Style
from evolcoder.extraction import Extraction
from evolcoder.models.protocol import Message

Meant = TypeVar("Meant")
SCRIPT_LINE = "Create a Python script for this problem:\n"
"""How the published scripts begin their instructions."""

FUNCTION_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n@", "\n```")
"""Where a continued function ends (Codex, section 3.2, which has the first five)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sent to the model for one problem."""

    prompt: tuple[Message, ...] | str
    stop: tuple[str, ...] = ()


def check_style(style: str) -> None:
    """Raise UserError, with the nearest name, for a style that is not known."""
    styles = get_args(Style)
    if style not in styles:
        raise UserError(f"style {style!r} is not known{nearest(style, styles)}: {', '.join(styles)}")


def of_preset(preset: str, known: Mapping[str, Meant]) -> Meant:
    """Return what a published file's preset stands for; raises UserError for one that is not known."""
    if preset not in known:
        raise UserError(f"preset {preset!r} is not known{nearest(preset, known)}: {', '.join(known)}")
    return known[preset]


def default_extraction(style: Style) -> Extraction:
    """Return how a program is found in an answer to this style."""
    of_its_own: dict[Style, Extraction] = {"wizardcoder": "wizardcoder", "completion": "none"}
    return of_its_own.get(style, "auto")


def with_tabs(text: str) -> str:
    """Return the text of a problem as the published scripts send it: a tab for every four spaces."""
    return text.replace("    ", "\t")


def answer_text(style: Style, text: str) -> str:
    """Return the answer as the published scripts keep it: under `wizardcoder` a tab is four spaces again."""
    return text.replace("\t", "    ") if style == "wizardcoder" else text
