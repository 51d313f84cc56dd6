"""The domain of WizardMath (arXiv 2308.09583): problems with one final answer, solved step by step.

A solution is verified by the given final answer, by a program in it, or by agreement of several: whichever
there is, in this order. An answer that is written otherwise than the expected one is compared by math-verify
in the sandbox, where programs run too. To learn from, the reward is a right final answer. The paper trains a
reward model for its two rewards; here the judging model is asked, in words of ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from evolcoder.answer_equality import COMPARISON_LIMITS, equality_job, math_verify_version
from evolcoder.domains.domain import Domain
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.evaluate.benchmarks.final_answers import ASK_FOR_ANSWER, FinalAnswers
from evolcoder.evolve.answering import Answering, Ask, Rated, Rating, VerifiedAnswer
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.methods import METHOD_SETS
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.evolve.verification import SandboxVerifier
from evolcoder.execution.engine import Engine
from evolcoder.extraction.code_blocks import code_blocks, without_thinking
from evolcoder.extraction.final_answers import ANSWER_WORDS, final_answer, written_alike
from evolcoder.model_cards import CardWords
from evolcoder.models.protocol import Message
from evolcoder.records import Instruction, Problem, Verdict
from evolcoder.reinforce.task_tests import Test
from evolcoder.reinforce.tasks import PROGRAM_TASKS, Task, TaskForms, instruction_of, scores_of_row
from evolcoder.sandbox.protocol import Job, Limits, StdioJob

_DETAIL = 300
_PYTHON = ("python", "py", "python3")


class SolutionVerifier(SandboxVerifier):
    """Verifies solutions; raises MissingExtraError, as it is entered, without math-verify."""

    def __enter__(self) -> Self:
        math_verify_version()
        return super().__enter__()

    @property
    def unverified(self) -> Mapping[str, Any]:
        """The columns of a row that was dropped before its answer could be verified."""
        return {"answer": "", "verdict": "", "verdict_detail": ""}

    async def verify(
        self, question: str, answers: Mapping[str, int], ask: Ask, given: str
    ) -> list[VerifiedAnswer]:
        """Verify solutions in order; the teacher is not asked. Raises SandboxError."""
        if given:
            return [await self._against(text, given, "given") for text in answers]
        programs = {text: program for text in answers if (program := _program_in(text))}
        voting = {text: votes for text, votes in answers.items() if text not in programs}
        agreed = await self._agreement(voting)
        return [
            await self._executed(text, programs[text]) if text in programs else agreed[text]
            for text in answers
        ]

    async def _agreement(self, answers: Mapping[str, int]) -> dict[str, VerifiedAnswer]:
        """Keep the solutions of the answer that most came to, two at least; one alone proves nothing."""
        votes = Counter[str]()
        answer_of: dict[str, str] = {}
        for text, times in answers.items():
            if not (answer := final_answer(text)):
                continue
            for known in votes:
                if await self._equal(known, answer):
                    answer = known
                    break
            votes[answer] += times
            answer_of[text] = answer
        total, most = sum(answers.values()), max(votes.values(), default=0)
        winners = [answer for answer, times in votes.items() if times == most]
        found = {}
        for text in answers:
            own = answer_of.get(text)
            if own is None:
                found[text] = _dropped(text, "", "no final answer was found")
            elif total == 1:
                found[text] = _kept(text, own, "unchecked")
            elif winners == [own] and most > 1:
                found[text] = _kept(text, own, "agreed", f"{most} of {total} answers", proved=True)
            else:
                found[text] = _dropped(text, own, f"{votes[own]} of {total} answers are {own!r}")
        return found

    async def _executed(self, text: str, program: str) -> VerifiedAnswer:
        """Compare a solution's answer with what its program writes last."""
        outcome = await self._outcome(StdioJob(program, b"", self._limits))
        written = outcome.stdout.decode("utf-8", "replace").strip().splitlines()
        if not outcome.verdict.passed or not written:
            why = outcome.verdict.detail if not outcome.verdict.passed else "its program writes nothing"
            return _dropped(text, final_answer(text), f"{outcome.verdict.reason}: {why}")
        return await self._against(text, final_answer(written[-1]) or written[-1], "executed")

    async def _against(self, text: str, expected: str, verdict: str) -> VerifiedAnswer:
        answer = final_answer(text)
        if answer and await self._equal(expected, answer):
            return _kept(text, answer, verdict, proved=True)
        return _dropped(text, answer, f"{expected!r} is expected, found {answer!r}")

    async def _equal(self, expected: str, answer: str) -> bool:
        if written_alike(expected, answer):
            return True
        outcome = await self._outcome(equality_job(expected, f"\\boxed{{{answer}}}", COMPARISON_LIMITS))
        return outcome.verdict.passed


def solution_verifier(settings: EvolveSettings, blocking: bool, engine: Engine) -> SolutionVerifier:
    """Return the verifier `answers`."""
    return SolutionVerifier(blocking=blocking, cpu_s=settings.verify_cpu_s, engine=engine)


def _program_in(text: str) -> str:
    """Return the last Python code block of a solution; "" where it has none."""
    found = [block.code for block in code_blocks(text) if block.closed and block.language in _PYTHON]
    return found[-1] if found else ""


def _kept(text: str, answer: str, verdict: str, detail: str = "", proved: bool = False) -> VerifiedAnswer:
    return VerifiedAnswer(text, None, _columns(answer, verdict, detail), proved)


def _dropped(text: str, answer: str, detail: str) -> VerifiedAnswer:
    elimination = Elimination("wrong answer", detail[:_DETAIL])
    return VerifiedAnswer(text, elimination, _columns(answer, "wrong", detail))


def _columns(answer: str, verdict: str, detail: str) -> dict[str, Any]:
    return {"answer": answer, "verdict": verdict, "verdict_detail": detail[:_DETAIL]}


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


CRITERIA = ("definition", "precision", "integrity")
RANKING = """\
Compare two math problems by three criteria.
Definition: it is stated in full and asks for one thing.
Precision: its words, numbers and units have one meaning.
Integrity: its conditions are enough, and none contradicts another.

Problem A:
{first}

Problem B:
{second}

Reply with three lines, which problem is better by each criterion (A, B or tie):
Definition:
Precision:
Integrity:"""
STEPS = """\
Below is a math problem and the numbered steps of a solution. Judge each step: does it follow, and is its \
calculation right?

Problem:
{problem}

Steps:
{steps}

Reply with one line for each step: its number, a colon, and right or wrong."""
_MOST_STEPS = 64
_RANKED = re.compile(rf"({'|'.join(CRITERIA)})\W*(?:problem\s+|a\s+(?=tie\b))?(a|b|tie)\b", re.IGNORECASE)
_JUDGED_STEP = re.compile(r"^\W*(?:step\s+)?(\d+)\W+(?:is\s+)?(right|correct|wrong|incorrect)\b", re.I | re.M)


async def instruction_reward(rated: Rated, ask: Ask) -> float:
    """Return how the evolved instruction ranks beside its parent: the mean over the criteria.

    Asked in both orders: 1 where both prefer it, 0 where both prefer its parent, else 0.5.
    """
    first = await _ranking(rated.parent, rated.instruction, ask)
    second = await _ranking(rated.instruction, rated.parent, ask)
    worth = {("b", "a"): 1.0, ("a", "b"): 0.0}
    return sum(worth.get((first.get(c, ""), second.get(c, "")), 0.5) for c in CRITERIA) / len(CRITERIA)


async def process_reward(rated: Rated, ask: Ask) -> float:
    """Return the share of the first 64 lines of a solution that the judge calls right; no verdict is not."""
    steps = [line.strip() for line in rated.answer.splitlines() if line.strip()][:_MOST_STEPS]
    if not steps:
        return 0.0
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    text = STEPS.format(problem=rated.instruction, steps=numbered)
    reply = await ask("score", (Message("user", text),))
    said = {int(number): verdict.lower() for number, verdict in _JUDGED_STEP.findall(reply.text)}
    return sum(said.get(n) in ("right", "correct") for n in range(1, len(steps) + 1)) / len(steps)


async def _ranking(first: str, second: str, ask: Ask) -> dict[str, str]:
    """Return which of two problems is better, "a", "b" or "tie", by criterion."""
    text = RANKING.format(first=first, second=second)
    reply = await ask("score", (Message("user", text),))
    return {criterion.lower(): better.lower() for criterion, better in _RANKED.findall(reply.text)}


_WORDS = CardWords(
    rows="mathematical problems",
    tags=("math",),
    limits="A solution of the model may be wrong although it reads well: check its steps and its answer.",
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def step_by_step(instruction: str) -> tuple[Message, ...]:
    """Return the chat that asks for a solution in steps with its final answer in the published words."""
    return (Message("user", f"{instruction}\n\n{ASK_FOR_ANSWER}"),)


def with_numbers_alike(text: str) -> str:
    """Return a text with 0 for each number: a problem with other numbers is a copy too."""
    return _NUMBER.sub("0", text)


def load() -> Domain:
    """Return the domain `math`."""
    answering = Answering(
        messages=step_by_step,
        verifiers={"answers": solution_verifier},
        ratings={
            "instruction_reward": Rating(instruction_reward, of_answer=False),
            "process_reward": Rating(process_reward, of_answer=True),
        },
        compared=with_numbers_alike,
    )
    reported = ("gsm8k", "math500")
    return Domain(
        "math", METHOD_SETS["math"], answering, ("gsm8k",), "math500", reported, SOLUTION_TASKS, _WORDS
    )
