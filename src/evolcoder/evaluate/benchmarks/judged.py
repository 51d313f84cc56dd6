"""What benchmarks that a model judges have in common: instructions, of one turn or two, and no tests.

How they are judged stands in `evaluate/model_judge/`. A user's own file may return such a benchmark too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, PromptForm
from evolcoder.evaluate.settings import Style
from evolcoder.evaluate.styles import Asked, check_style
from evolcoder.instruction_prompt import conversation_prompt
from evolcoder.models.protocol import Message
from evolcoder.records import Problem


@dataclass(frozen=True)
class JudgedBenchmark(Benchmark):
    """Instructions whose answers a model judges; `extra` of a problem may hold what is known besides.

    `turns`: the questions, where there are two; `references`: an answer to each, for the judge to compare
    with; `difficulty`: a number; `groups`: the parts that it belongs to.
    """

    oracles: tuple[str, ...] = ("judge",)
    prompt_form: PromptForm = "prose"

    @property
    def highlighted(self) -> None:
        """Answers are words."""
        return None

    def turns(self, problem: Problem) -> tuple[str, ...]:
        """Return the questions of a problem, in the order in which they are asked."""
        return tuple(problem.extra.get("turns") or (problem.prompt,))

    def references(self, problem: Problem) -> tuple[str, ...]:
        """Return an answer to each question that the judge is shown; () where there are none."""
        return tuple(problem.extra.get("references") or ())

    def difficulty(self, problem: Problem) -> float | None:
        """Return how difficult a problem is, on the benchmark's own scale; None where that is not known."""
        value = problem.extra.get("difficulty")
        return None if value is None else float(value)

    def temperature(self, problem: Problem, preset: str) -> float:
        """Return the temperature at which a model answers where the user names none; 0 is greedy."""
        return 0.0

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return the parts of the benchmark that a problem belongs to."""
        return tuple(problem.extra.get("groups") or ())

    def conversation(self, problem: Problem, style: Style, answers: Sequence[str] = ()) -> Asked:
        """Return what asks the question after `answers`; raises UserError for the style "completion"."""
        check_style(style)
        questions = self.turns(problem)[: len(answers) + 1]
        if style == "completion":
            raise UserError(f"{self.name}: the style completion continues code; chat or wizardcoder asks")
        if style != "chat":
            return Asked(conversation_prompt(style, questions, answers))
        messages = [Message("user", questions[0])]
        for answer, question in zip(answers, questions[1:], strict=True):
            messages += [Message("assistant", answer), Message("user", question)]
        return Asked(tuple(messages))

    def ask(self, problem: Problem, style: Style, preset: str = "published") -> Asked:
        """Return what asks the first question."""
        return self.conversation(problem, style)

    def text(self, problem: Problem) -> str:
        """Return all that a problem asks."""
        return "\n".join(self.turns(problem))

    def check_ready(self) -> None:
        """Raise UserError: no program is run, a model judges."""
        raise needs_judge(self.name)


def needs_judge(name: str) -> UserError:
    """Return the error that says how a benchmark is judged that no program decides."""
    return UserError(
        f"{name} is judged by a model: evolcoder evaluate --benchmark {name} --judge MODEL, "
        "or evaluate.judge in a recipe"
    )
