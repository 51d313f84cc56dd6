"""A backend of models that say what a test needs; NAME says which. Each request is a line of ASKED_LOG."""

from __future__ import annotations

import os
import re
from pathlib import Path

from evolcoder.models.protocol import Completion, LanguageModel, Request

_ANSWERS = re.compile(r"\[The Start of Assistant [AB]'s Answer\]\n(.*?)\n\[The End", re.DOTALL)


class Scripted(LanguageModel):
    """Answers as its name says."""

    def __init__(self, name: str) -> None:
        self._said = name

    @property
    def name(self) -> str:
        return f"scripted-{self._said}"

    async def complete(self, request: Request) -> Completion:
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content
        whole = text if isinstance(request.prompt, str) else "".join(m.content for m in request.prompt)
        self._log()
        reply = self._reply(text)
        return Completion(reply, "stop", len(whole) // 4, len(reply) // 4 + 1, cost_usd=len(whole) / 1e6)

    async def close(self) -> None:
        pass

    def _log(self) -> None:
        if log := os.environ.get("ASKED_LOG"):
            with Path(log).open("a") as lines:
                lines.write(f"{self._said}\n")

    def _reply(self, text: str) -> str:
        match self._said.split("-"):
            case ["always", verdict]:
                return f"I have read both. [[{verdict}]]"
            case ["prefers", word]:
                first, second = (word in answer for answer in _ANSWERS.findall(text))
                return "[[C]]" if first == second else "[[A]]" if first else "[[B]]"
            case ["answers", word]:
                return f"{word}: " + " ".join(reversed(text.split()))
            case ["silent", *_]:
                return ""
            case _:
                return f"{self._said} of {text[:20]}"


def load() -> type[Scripted]:
    return Scripted
