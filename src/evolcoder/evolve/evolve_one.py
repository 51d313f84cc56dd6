"""One instruction in one round: evolve, eliminate, answer, eliminate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evolcoder.errors import RequestFailedError, RequestRefusedError
from evolcoder.evolve.elimination import Elimination, answer_elimination, instruction_elimination, says_equal
from evolcoder.evolve.methods import (
    Method,
    MethodSet,
    choose_method,
    equality_messages,
    evolution_messages,
    fraction_of,
)
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.extraction.code_blocks import without_thinking
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request, Sampling
from evolcoder.records import Instruction, Lineage
from evolcoder.runs import content_hash

if TYPE_CHECKING:
    from evolcoder.evolve.verification import Verifier


@dataclass(slots=True)
class RowUsage:
    """What the requests of one row came to; the same on a run and on its continuation."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = None

    def add(self, completion: Completion) -> None:
        """Count one reply."""
        self.requests += 1
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        if completion.cost_usd is not None:
            self.usd = (self.usd or 0.0) + completion.cost_usd


@dataclass(frozen=True, slots=True)
class EvolvedRow:
    """How one parent fared: the row made of it, and why it was dropped if it was."""

    row: Instruction
    elimination: Elimination | None
    usage: RowUsage


_UNVERIFIED = {"language": "", "verdict": "", "repairs": 0, "tests": "", "verdict_detail": ""}


class CountedTeacher:
    """Asks the teacher on behalf of one row, and keeps count."""

    def __init__(
        self, model: LanguageModel, settings: EvolveSettings, row_id: str, round_number: int
    ) -> None:
        self._model, self._settings = model, settings
        # From content, so that the same row asks the same again; by round, so that a row that was
        # eliminated is evolved differently next time.
        self._seed = int(fraction_of("sampling", settings.seed, row_id, round_number) * 2**31)
        self.usage = RowUsage()
        self.teachers: dict[str, None] = {}
        """Who answered, in the order of the requests; several where a pool of teachers was asked."""

    async def ask(
        self, messages: tuple[Message, ...], max_tokens: int, temperature: float | None = None
    ) -> Completion:
        """Send one chat and return the reply. Raises what the model raises."""
        greedy = temperature == 0
        sampling = Sampling(
            temperature=self._settings.temperature if temperature is None else temperature,
            top_p=1.0 if greedy else self._settings.top_p,
            max_tokens=max_tokens,
            seed=0 if greedy else self._seed,
        )
        completion = await self._model.complete(Request(messages, sampling))
        self.usage.add(completion)
        self.teachers[completion.model or self._model.name] = None
        return completion


def question_of(row: Instruction) -> str:
    """Return an instruction with its input, as one question."""
    return f"{row.instruction}\n{row.input}" if row.input.strip() else row.instruction


async def evolve_row(
    parent: Instruction,
    model: LanguageModel,
    methods: MethodSet,
    settings: EvolveSettings,
    round_number: int,
    verifier: Verifier | None = None,
) -> EvolvedRow:
    """Evolve one instruction, answer it, and apply the rules in order of their price.

    Raises EndpointError, BudgetExhaustedError; a single request that fails for good drops the row instead.
    """
    method = choose_method(methods, settings.seed, parent.id, round_number)
    teacher = CountedTeacher(model, settings, parent.id, round_number)
    question = question_of(parent).rstrip()
    evolved = answer = ""
    elimination: Elimination | None
    extra: dict[str, Any] = {} if verifier is None else dict(_UNVERIFIED)
    try:
        reply = await teacher.ask(
            evolution_messages(methods, method, question, settings.shots), settings.instruction_max_tokens
        )
        evolved = without_thinking(reply.text).strip()
        elimination = _no_text(reply, evolved) or instruction_elimination(question, evolved, method, methods)
        if elimination is None and reply.finish_reason == "length":
            elimination = Elimination("truncated", "the evolved instruction was cut off")
        if elimination is None and settings.judge:
            elimination = await _equality_elimination(teacher, question, evolved)
        if elimination is None:
            reply = await teacher.ask((Message("user", evolved),), settings.max_tokens)
            answer = without_thinking(reply.text).strip()
            elimination = _no_text(reply, answer) or answer_elimination(answer, evolved)
            if elimination is None and reply.finish_reason == "length" and not settings.keep_truncated:
                elimination = Elimination(
                    "truncated", f"the answer was cut off at {settings.max_tokens} tokens"
                )
        if elimination is None and verifier is not None:
            verified = await verifier.verify(
                evolved, answer, lambda chat: teacher.ask(chat, settings.max_tokens)
            )
            answer, elimination = verified.answer, verified.elimination
            extra = {
                "language": verified.language,
                "verdict": verified.state,
                "repairs": verified.repairs,
                "tests": verified.tests,
                "verdict_detail": verified.detail,
            }
    except RequestRefusedError as error:
        elimination = Elimination("refused", str(error))
    except RequestFailedError as error:
        elimination = Elimination("no reply", str(error))
    row = _child(
        parent,
        method,
        "+".join(teacher.teachers) or model.name,
        round_number,
        evolved,
        answer,
        {**extra, **_columns(teacher.usage)},
    )
    return EvolvedRow(row, elimination, teacher.usage)


def _no_text(reply: Completion, text: str) -> Elimination | None:
    """What a reply that brought no text of use says of itself."""
    if reply.finish_reason == "content_filter":
        return Elimination("refused", f"the endpoint refused it: {text[:80]!r}")
    if reply.finish_reason == "length" and not text:
        return Elimination("truncated", "cut off before any text came")
    return None


async def _equality_elimination(teacher: CountedTeacher, question: str, evolved: str) -> Elimination | None:
    """Rule 1 by the teacher's judgement."""
    reply = await teacher.ask(equality_messages(question, evolved), max_tokens=16, temperature=0)
    if says_equal(without_thinking(reply.text)):
        return Elimination("equal", f"the teacher judged {reply.text.strip()[:40]!r}")
    return None


def _child(
    parent: Instruction,
    method: Method,
    teacher: str,
    round_number: int,
    evolved: str,
    answer: str,
    extra: dict[str, Any],
) -> Instruction:
    lineage = Lineage(parent.lineage.seed_id, parent.id, round_number, method.name, teacher)
    id_ = content_hash(parent.id, round_number, evolved)[:16]
    return Instruction(id_, evolved, "", answer, lineage, extra)


def _columns(usage: RowUsage) -> dict[str, Any]:
    return {
        "requests": usage.requests,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": usage.usd,
    }
