"""A teacher that says what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evolcoder.models.protocol import Completion, Request
from evolcoder.records import Instruction, Lineage

ANSWER = "Here is how:\n```python\ndef solve(x):\n    return x\n```"


def harder(text: str) -> str:
    """Return a longer question that still shows what it came from."""
    return f"{text.strip()} It must also handle empty input and report errors by name."


def question_in(chat: str) -> str:
    """Return what stands behind the code template's blank lines."""
    return chat.split("\n\n", 2)[2].strip()


class Teacher:
    """Implements `LanguageModel`: `evolve`, `answer` and `judge` say what it replies to each kind of chat."""

    name = "scripted"

    def __init__(
        self,
        evolve: Callable[[str], str] = harder,
        answer: Callable[[str], str] = lambda text: ANSWER,
        judge: str = "Not Equal",
        usd: float | None = None,
        finish: Callable[[str], str] = lambda kind: "stop",
    ) -> None:
        self.evolve, self.answer, self.judge, self.usd, self.finish = evolve, answer, judge, usd, finish
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        text = self.last(request)
        if "Equal or Not Equal" in text:
            kind, reply = "judge", self.judge
        elif "increase the difficulty" in text:
            kind, reply = "evolve", self.evolve(question_in(text))
        else:
            kind, reply = "answer", self.answer(text)
        return Completion(reply, self.finish(kind), len(text), len(reply), self.usd)  # type: ignore[arg-type]

    async def close(self) -> None:
        pass

    @staticmethod
    def last(request: Request) -> str:
        assert not isinstance(request.prompt, str)
        return request.prompt[-1].content


def seeds(texts: Sequence[str]) -> list[Instruction]:
    return [Instruction(f"s{i}", text, "", "old answer", Lineage(f"s{i}")) for i, text in enumerate(texts)]


TASKS = [
    "Write a Python function that merges two calendars.",
    "Write a SQL query that finds the busiest warehouse.",
    "Explain how to rename a git branch and its remote copy.",
    "Write a Go program that counts requests per client.",
    "Write a shell script that renames photos by date taken.",
    "Implement a stack machine for arithmetic in Rust.",
]
