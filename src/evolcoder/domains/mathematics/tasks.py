"""Problems to learn from: the reward is a right final answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evolcoder.answer_equality import equality_job
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.evaluate.benchmarks.final_answers import FinalAnswers
from evolcoder.extraction.code_blocks import without_thinking
from evolcoder.extraction.final_answers import ANSWER_WORDS, final_answer, written_alike
from evolcoder.records import Instruction, Problem, Verdict
from evolcoder.reinforce.task_tests import Test
from evolcoder.reinforce.tasks import PROGRAM_TASKS, Task, TaskForms, instruction_of, scores_of_row
from evolcoder.sandbox.protocol import Job, Limits


@dataclass(frozen=True, slots=True)
class AnswerTest(Test):
    """The final answer that a solution must come to: alike in writing, else equal by math-verify."""

    expected: str

    def judged(self, text: str, entry_point: str) -> str:
        """Return the final answer of a solution."""
        return final_answer(without_thinking(text))

    def distinct(self, text: str, entry_point: str) -> str:
        """Return the solution itself: other steps to the same answer are another solution."""
        return " ".join(text.split())

    def well_formed(self, text: str) -> bool:
        """Whether a solution ends with the published words and an answer."""
        return bool(text.rpartition(ANSWER_WORDS)[1])

    def at_once(self, judged: str) -> Verdict | None:
        """Return the verdict on no answer, and on one that is written as expected."""
        if not judged.strip():
            return Verdict(False, "no answer", "the solution has no final answer")
        if written_alike(self.expected, judged):
            return Verdict(True, "passed", tier="text", level="nothing run")
        return None

    def job(self, judged: str, limits: Limits) -> Job:
        """Return the job that compares by math-verify."""
        return equality_job(self.expected, f"\\boxed{{{judged}}}", limits)

    def named(self) -> list[Any]:
        """Return the expected answer."""
        return ["answer", self.expected]


def task_of_row(row: Instruction) -> Task | None:
    """Return the task in a row: of its tests where it has some, of its final answer else; None without.

    The answer is in the column `answer`, as `evolve --verify answers` writes it, or ends the response.
    """
    if row.extra.get("tests"):
        return PROGRAM_TASKS.of_row(row)
    expected = str(row.extra.get("answer") or "") or final_answer(row.response)
    if not expected:
        return None
    solution = row.response or f"{ANSWER_WORDS}{expected}"
    tests = (AnswerTest(expected),)
    return Task(
        row.id, instruction_of(row), tests, solution=final_answer(solution), scores=scores_of_row(row)
    )


def task_of_problem(benchmark: Benchmark, problem: Problem) -> Task | None:
    """Return a benchmark's problem as a task; None where it is not judged by its final answer."""
    if not isinstance(benchmark, FinalAnswers):
        return PROGRAM_TASKS.of_problem(benchmark, problem)
    return Task(problem.task_id, problem.prompt, (AnswerTest(problem.tests),), solution=problem.tests)


SOLUTION_TASKS = TaskForms(
    task_of_row,
    task_of_problem,
    "no row has a final answer; columns instruction and answer, or a response that ends with one, expected",
    "benchmark:gsm8k:train",
)
