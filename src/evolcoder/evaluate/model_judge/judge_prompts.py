"""What a model judge is asked (MT-Bench's published `judge_prompts.toml`), and how its reply is read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from evolcoder.extraction.thinking import split_thinking
from evolcoder.models.protocol import Message

Choice = Literal["A", "B", "C"]
"""The first answer is better, the second one, or neither."""
CHOICES: tuple[Choice, ...] = ("A", "B", "C")

_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_RATING_IN_SINGLE_BRACKETS = re.compile(r"\[(\d+\.?\d*)\]")
LEAST, MOST = 1.0, 10.0
"""The scale of ratings."""


def rating_messages(
    questions: Sequence[str], answers: Sequence[str], references: Sequence[str] = (), shots: int = 0
) -> tuple[Message, ...]:
    """Return the chat that asks for a rating of the last answer, 1 to 10; `references` are one a question."""
    examples = [
        (rating_messages((asked,), (answer,))[-1].content, f"Rating: [[{rating}]] {why}")
        for asked, answer, why, rating in _prompts()["examples"]["rated"][:shots]
    ]
    name = "single-math-v1" if references else "single-v1"
    return _chat(name, {"question": questions, "answer": answers}, references, examples)


def pair_messages(
    questions: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    references: Sequence[str] = (),
    shots: int = 0,
) -> tuple[Message, ...]:
    """Return the chat that asks which of two last answers is better: A the first, B the second, C neither."""
    examples = [
        (pair_messages((asked,), (a,), (b,))[-1].content, f"[[{choice}]] {why}")
        for asked, a, b, why, choice in _prompts()["examples"]["compared"][:shots]
    ]
    name = "pair-math-v1" if references else "pair-v2"
    return _chat(name, {"question": questions, "answer_a": first, "answer_b": second}, references, examples)


def read_rating(reply: str) -> float | None:
    """Return the rating that a reply names as FastChat reads it; None where there is none from 1 to 10."""
    text = split_thinking(reply)[1]
    found = _RATING.search(text) or _RATING_IN_SINGLE_BRACKETS.search(text)
    if found is None or not LEAST <= float(found[1]) <= MOST:
        return None
    return float(found[1])


def read_choice(reply: str) -> Choice | None:
    """Return the choice that a reply names as FastChat reads it: A before B before C; None for none."""
    text = split_thinking(reply)[1]
    return next((choice for choice in CHOICES if f"[[{choice}]]" in text), None)


def _chat(
    name: str,
    texts: Mapping[str, Sequence[str]],
    references: Sequence[str],
    examples: Sequence[tuple[str, str]],
) -> tuple[Message, ...]:
    """Return a published prompt with its texts, each by name a turn, after worked examples."""
    values = {f"ref_answer_{n}": text for n, text in enumerate(references, 1)}
    several = len(texts["question"]) > 1
    for field, turns in texts.items():
        values |= {f"{field}_{n}" if several else field: text for n, text in enumerate(turns, 1)}
    prompt = _prompts()[f"{name}-multi-turn" if several else name]
    shown = [m for user, reply in examples for m in (Message("user", user), Message("assistant", reply))]
    return Message("system", prompt["system"]), *shown, Message("user", prompt["template"].format(**values))


@cache
def _prompts() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
