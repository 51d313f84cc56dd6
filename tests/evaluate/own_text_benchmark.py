"""A benchmark in one file from outside the package: sums in words, judged by the last number of an answer.

No program is run. `test_outside_benchmark.py` takes it through every command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, PromptForm
from evolcoder.evaluate.styles import Asked
from evolcoder.extraction.code_blocks import Extraction, without_thinking
from evolcoder.records import Problem, Sample, Verdict

_STORIES = (
    "Anna picks {} red apples before lunch and {} green ones after it; the basket is then full of",
    "A bakery sold {} loaves on Monday and {} on Tuesday, so the two days together came to",
    "Of the birds on the roof {} are doves and {} are swallows, which makes altogether",
    "Tom owes his sister {} stamps from last year and {} from this one, hence he owes",
    "The train takes {} minutes to the river and {} further to the sea, the whole journey lasting",
)
_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Sums(Benchmark):
    """Sums of two numbers."""

    oracles: tuple[str, ...] = ("last-number", "any-number")
    prompt_form: PromptForm = "prose"

    def instruction(self, problem: Problem) -> str:
        """Return the question as it stands."""
        return problem.prompt

    def question(self, problem: Problem) -> str:
        """Ask for the number alone at the end."""
        return f"{problem.prompt} End with the number."

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have a base model go on after "Answer:"."""
        return Asked(f"Question: {problem.prompt}\nAnswer:", ("\nQuestion:",))

    def text(self, problem: Problem) -> str:
        """Return the question alone: the answer is a number."""
        return problem.prompt

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return the answer without its thinking."""
        return Sample(problem.task_id, index, raw, without_thinking(raw), whole=True)

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict:
        """Compare the number that the answer gives."""
        found = _NUMBER.findall(program)
        passed = problem.tests in (found if oracle == "any-number" else found[-1:])
        detail = "" if passed else f"{problem.tests} is expected, found {found[-1:] or 'no number'}"
        return Verdict(passed, "passed" if passed else "failed", detail, tier="text", level="nothing run")


def load() -> Benchmark:
    """Return ten sums."""
    problems = tuple(
        Problem(
            task_id=f"Sum/{n}",
            benchmark="sums",
            prompt=_STORIES[n % 5].format(n, 2 * n + 1) + " how many?",
            entry_point="",
            tests=str(3 * n + 1),
            canonical_solution=f"{n} + {2 * n + 1} = {3 * n + 1}",
        )
        for n in range(10)
    )
    return Sums("sums", "v1", problems)
