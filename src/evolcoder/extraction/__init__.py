"""From a model's answer to the program that is judged."""

from typing import Literal

Extraction = Literal["wizardcoder", "fence", "first", "last", "auto", "none"]
"""How a program is found in an answer; `code_blocks` says what each takes."""
