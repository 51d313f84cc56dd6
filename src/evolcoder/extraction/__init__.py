"""From a model's answer to the program that is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Extraction = Literal["wizardcoder", "fence", "first", "last", "auto", "none"]
"""How a program is found in an answer; `code_blocks` says what each takes."""


@dataclass(frozen=True, slots=True)
class PublishedCuts:
    """How the published post-processing of one benchmark differs from that of another."""

    marks: tuple[str, ...] = ()
    """Texts that end a program, beside the two that end it everywhere."""
    closing: str = "```"
    """What closes the fenced block."""
    keeps_returns: bool = False
    """Whether carriage returns stay."""


HUMANEVAL_CUTS = PublishedCuts()
"""Those of `process_humaneval.py`."""


def up_to_first(text: str, marks: Sequence[str]) -> str:
    """Return a text up to the first of some marks in it."""
    found = [at for mark in marks if (at := text.find(mark)) >= 0]
    return text[: min(found)] if found else text
