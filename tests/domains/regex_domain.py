"""A fifth domain from outside the package: regular expressions, verified and rewarded by Python's `re`.

Its benchmark stands in `regex_benchmark.py`. Tests take both through the commands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from evolcoder.domains import Domain
from evolcoder.evolve.answering import Answering, VerifiedAnswer
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.methods import Method, MethodSet
from evolcoder.extraction.code_blocks import code_blocks
from evolcoder.models.protocol import Message
from evolcoder.records import Instruction, Verdict
from evolcoder.reinforce.task_tests import Test
from evolcoder.reinforce.tasks import Task, TaskForms, instruction_of
from evolcoder.sandbox.protocol import Limits, StdioJob
from evolcoder.sandbox.work import SandboxWork

PROGRAM = """
import json, re, sys
pattern, texts = json.loads(sys.stdin.read())
print(json.dumps([bool(re.fullmatch(pattern, text)) for text in texts]))
"""


def pattern_in(text: str) -> str:
    blocks = [block.code for block in code_blocks(text)]
    return (blocks[-1] if blocks else text.strip().splitlines()[-1] if text.strip() else "").strip("`\n ")


def matching(pattern: str, texts: list[str], limits: Limits) -> StdioJob:
    return StdioJob(PROGRAM, json.dumps([pattern, texts]).encode(), limits)


class Compiles:
    unverified: ClassVar[dict[str, str]] = {"verdict": ""}

    def __init__(self, settings: Any, blocking: bool, engine: Any) -> None:
        self.engine = engine

    def __enter__(self) -> Self:
        self.opened = self.engine.open(SandboxWork())
        self.sandbox = self.opened.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.opened.__exit__(*error)

    async def verify(self, question: str, answers: Any, ask: Any, given: str) -> list[VerifiedAnswer]:
        jobs = [(text, matching(pattern_in(text), ["a"], Limits())) for text in answers]
        found = {text: outcome.verdict for text, outcome in self.sandbox.run_many(jobs)}
        return [self.verified(text, found[text]) for text in answers]

    def verified(self, text: str, verdict: Verdict) -> VerifiedAnswer:
        dropped = None if verdict.passed else Elimination("wrong answer", verdict.detail)
        return VerifiedAnswer(text, dropped, {"verdict": "compiles" if verdict.passed else "broken"})


@dataclass(frozen=True, slots=True)
class MatchTest(Test):
    """Whether a pattern matches a text as it should."""

    text: str
    matches: bool

    def judged(self, text: str, entry_point: str) -> str:
        return pattern_in(text)

    def mistake_in(self, judged: str) -> str:
        return ""

    def job(self, judged: str, limits: Limits) -> StdioJob:
        return matching(judged, [self.text], limits)

    def verdict(self, outcome: Any) -> Verdict:
        if not outcome.verdict.passed or json.loads(outcome.stdout) == [self.matches]:
            return outcome.verdict
        return Verdict(False, "failed", f"{self.text!r}: otherwise", "stdio", outcome.verdict.level)

    def named(self) -> list[Any]:
        return ["regex", self.text, self.matches]


def task_of_row(row: Instruction) -> Task | None:
    columns = (("matches", True), ("rejects", False))
    tests = [MatchTest(text, right) for name, right in columns for text in row.extra.get(name) or ()]
    return Task(row.id, instruction_of(row), tuple(tests)) if tests else None


def as_pattern(instruction: str) -> tuple[Message, ...]:
    return (Message("user", f"{instruction}\n\nAnswer with one Python regular expression in a code block."),)


def load() -> Domain:
    methods = (Method("longer", "Ask for one more condition."), Method("stricter", "Forbid something."))
    return Domain(
        "regex",
        MethodSet(
            "regex", "Make this pattern task harder. {method}\n\n{question}", methods, ("pattern task",)
        ),
        Answering(as_pattern, {"compiles": Compiles}),
        benchmarks=("tests/domains/regex_benchmark.py",),
        stop_benchmark="mbpp-400",
        reported=(),
        tasks=TaskForms(task_of_row, lambda benchmark, problem: None, "columns matches or rejects expected"),
    )
