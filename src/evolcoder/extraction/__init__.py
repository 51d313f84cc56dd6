"""From a model's answer to the program that is judged."""

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
