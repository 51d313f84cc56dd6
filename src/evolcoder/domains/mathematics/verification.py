"""Verified solutions: by the given final answer, by a program in the solution, or by agreement of several.

Whichever there is, in this order. An answer that is written otherwise than the expected one is compared by
math-verify in the sandbox, where programs run too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from evolcoder.answer_equality import COMPARISON_LIMITS, equality_job, math_verify_version
from evolcoder.errors import SandboxError
from evolcoder.evolve.answering import Ask, VerifiedAnswer
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.execution.engine import Engine, Pool
from evolcoder.extraction.code_blocks import code_blocks
from evolcoder.extraction.final_answers import final_answer, written_alike
from evolcoder.sandbox.protocol import Job, Limits, Outcome, StdioJob

_DETAIL = 300
_PYTHON = ("python", "py", "python3")


@dataclass(slots=True)
class _Group:
    """Solutions that come to one answer."""

    answer: str
    votes: int = 0


class SolutionVerifier:
    """Verifies solutions; a context manager, for its sandbox. `blocking` is as for programs."""

    def __init__(self, *, blocking: bool, cpu_s: float, engine: Engine) -> None:
        self._blocking, self._engine = blocking, engine
        self._limits = Limits(cpu_s=cpu_s, memory_bytes=1 << 30)
        self._stack = ExitStack()
        self._sandbox: Pool[Job, Outcome] | None = None

    def __enter__(self) -> Self:
        from evolcoder.sandbox.work import SandboxWork

        math_verify_version()
        self._sandbox = self._stack.enter_context(self._engine.open(SandboxWork()))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

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
        groups: list[_Group] = []
        group_of: dict[str, _Group] = {}
        for text, votes in answers.items():
            if not (answer := final_answer(text)):
                continue
            for group in groups:
                if await self._equal(group.answer, answer):
                    break
            else:
                groups.append(group := _Group(answer))
            group.votes += votes
            group_of[text] = group
        total = sum(answers.values())
        most = max((group.votes for group in groups), default=0)
        winners = [group for group in groups if group.votes == most]
        found = {}
        for text in answers:
            own = group_of.get(text)
            if own is None:
                found[text] = _dropped(text, "", "no final answer was found")
            elif total == 1:
                found[text] = _kept(text, own.answer, "unchecked")
            elif own in winners and len(winners) == 1 and most > 1:
                found[text] = _kept(text, own.answer, "agreed", f"{most} of {total} answers", proved=True)
            else:
                found[text] = _dropped(text, own.answer, f"{own.votes} of {total} answers are {own.answer!r}")
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

    async def _outcome(self, job: Job) -> Outcome:
        assert self._sandbox is not None
        if self._blocking:
            ((_, outcome),) = self._sandbox.run_many([(0, job)])
        else:
            outcome = await self._sandbox.one(job)
        if outcome.verdict.reason == "infrastructure":
            raise SandboxError(f"the sandbox could not run a job: {outcome.verdict.detail}")
        return outcome


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
