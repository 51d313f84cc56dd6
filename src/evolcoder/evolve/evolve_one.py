"""One instruction in one round: evolve, eliminate, answer, eliminate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evolcoder.errors import RequestFailedError, RequestRefusedError
from evolcoder.evolve.elimination import Elimination, answer_elimination, instruction_elimination, says_equal
from evolcoder.evolve.methods import (
    MethodSet,
    choose_method,
    equality_messages,
    evolution_messages,
    fraction_of,
)
from evolcoder.evolve.preambles import without_preamble
from evolcoder.evolve.settings import AskSettings, EvolveSettings, Phase
from evolcoder.extraction.thinking import split_thinking
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
    more: tuple[Instruction, ...] = ()
    """The same instruction with its further answers, where several were asked for."""
    preamble_cut: bool = False
    """Whether the teacher's words around the instruction were cut off."""


_UNVERIFIED = {"language": "", "verdict": "", "repairs": 0, "tests": "", "verdict_detail": ""}


class CountedTeacher:
    """Asks the teacher on behalf of one row, and keeps count."""

    def __init__(
        self,
        model: LanguageModel,
        settings: EvolveSettings,
        row_id: str,
        round_number: int,
        told: Callable[[Completion], None],
    ) -> None:
        self._model, self._settings, self._told = model, settings, told
        # From content, so that the same row asks the same again; by round, so that a row that was
        # eliminated is evolved differently next time.
        self._seed = int(fraction_of("sampling", settings.seed, row_id, round_number) * 2**31)
        self.usage = RowUsage()
        self.teachers: dict[str, None] = {}
        """Who answered, in the order of the requests; several where a pool of teachers was asked."""

    async def ask(self, phase: Phase, messages: tuple[Message, ...], index: int = 0) -> Completion:
        """Send one chat and return the reply, its reasoning apart from its text. May raise as the model."""
        own = self._settings.phases.get(phase, _AS_THE_REST)
        if own.system:
            messages = (Message("system", own.system), *messages)
        temperature = own.temperature
        if temperature is None:
            temperature = 0.0 if phase == "judge" else self._settings.temperature
        top_p = self._settings.top_p if own.top_p is None else own.top_p
        sampling = Sampling(
            temperature=temperature,
            top_p=top_p if temperature else 1.0,
            max_tokens=own.max_tokens or self._most_tokens(phase),
            seed=self._seed if temperature else 0,
            further_fields=own.further_fields,
        )
        completion = await self._model.complete(Request(messages, sampling, index))
        self.usage.add(completion)
        self._told(completion)
        self.teachers[completion.model or self._model.name] = None
        reasoning, text = split_thinking(completion.text)
        return replace(completion, text=text, reasoning=completion.reasoning or reasoning.strip())

    def _most_tokens(self, phase: Phase) -> int:
        most = {"evolve": self._settings.instruction_max_tokens, "judge": 16}
        return most.get(phase, self._settings.max_tokens)


_AS_THE_REST = AskSettings()


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer to an evolved instruction."""

    text: str
    reasoning: str
    elimination: Elimination | None
    columns: dict[str, Any]
    """What verification found."""


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
    told: Callable[[Completion], None] = lambda completion: None,
) -> EvolvedRow:
    """Evolve one instruction, answer it, and apply the rules in order of their price.

    `told` hears of every reply. Raises EndpointError, BudgetExhaustedError; a single request that fails for
    good drops the row instead.
    """
    method = choose_method(methods, settings.seed, parent.id, round_number)
    teacher = CountedTeacher(model, settings, parent.id, round_number, told)
    question = question_of(parent).rstrip()
    evolved, reasoning, cut = "", "", False
    elimination: Elimination | None = None
    answers: list[_Answer] = []
    try:
        reply = await teacher.ask("evolve", evolution_messages(methods, method, question, settings.shots))
        whole, reasoning = reply.text.strip(), reply.reasoning
        evolved = without_preamble(whole)
        cut = evolved != whole
        elimination = _no_text(reply, evolved) or instruction_elimination(question, evolved, method, methods)
        if elimination is None and reply.finish_reason == "length":
            elimination = Elimination("truncated", "the evolved instruction was cut off")
        if elimination is None and settings.judge:
            elimination = await _equality_elimination(teacher, question, evolved)
        if elimination is None:
            answers = await _answers(teacher, evolved, settings, verifier)
    except RequestRefusedError as error:
        elimination = Elimination("refused", str(error))
    except RequestFailedError as error:
        elimination = Elimination("no reply", str(error))
    if not answers:
        answers = [_Answer("", reasoning, elimination, dict(_UNVERIFIED) if verifier is not None else {})]
    elimination = answers[0].elimination
    lineage = Lineage(
        parent.lineage.seed_id,
        parent.id,
        round_number,
        method.name,
        "+".join(teacher.teachers) or model.name,
    )
    rows = []
    for number, answer in enumerate(answers):
        columns = {**answer.columns, **_columns(RowUsage() if number else teacher.usage)}
        if answer.reasoning:
            columns["reasoning"] = answer.reasoning
        which = (number,) if number else ()
        id_ = content_hash(parent.id, round_number, evolved, *which)[:16]
        rows.append(Instruction(id_, evolved, "", answer.text, lineage, columns))
    return EvolvedRow(rows[0], elimination, teacher.usage, tuple(rows[1:]), cut)


async def _answers(
    teacher: CountedTeacher, evolved: str, settings: EvolveSettings, verifier: Verifier | None
) -> list[_Answer]:
    """Return the answers that stay; where none does, the first one with why it is dropped."""
    replies: list[Completion] = []
    for index in range(settings.answers):
        try:
            replies.append(await teacher.ask("answer", (Message("user", evolved),), index))
        except RequestFailedError:
            if index == settings.answers - 1 and not replies:
                raise
    tests: str | None = None
    judged: dict[str, _Answer] = {}
    for reply in replies:
        text = reply.text.strip()
        if text in judged:
            continue
        elimination = _no_text(reply, text) or answer_elimination(text, evolved)
        if elimination is None and reply.finish_reason == "length" and not settings.keep_truncated:
            elimination = Elimination("truncated", f"the answer was cut off at {settings.max_tokens} tokens")
        columns: dict[str, Any] = {} if verifier is None else dict(_UNVERIFIED)
        answer = text
        if elimination is None and verifier is not None:
            verified = await verifier.verify(evolved, text, teacher.ask, tests)
            tests = tests or verified.tests or None
            answer, elimination = verified.answer, verified.elimination
            columns = {
                "language": verified.language,
                "verdict": verified.state,
                "repairs": verified.repairs,
                "tests": verified.tests,
                "verdict_detail": verified.detail,
            }
        judged[text] = _Answer(answer, reply.reasoning, elimination, columns)
    kept = [answer for answer in judged.values() if answer.elimination is None]
    if proved := [answer for answer in kept if answer.columns.get("verdict") in ("passed", "repaired")]:
        kept = proved  # what nothing was proved of is no company for what passed
    if settings.keep_answers == "shortest":
        kept = sorted(kept, key=lambda answer: len(answer.text))[:1]
    return kept or list(judged.values())[:1]


def _no_text(reply: Completion, text: str) -> Elimination | None:
    """What a reply that brought no text of use says of itself."""
    if reply.finish_reason == "content_filter":
        return Elimination("refused", f"the endpoint refused it: {text[:80]!r}")
    if reply.finish_reason == "length" and not text:
        return Elimination("truncated", "cut off before any text came")
    return None


async def _equality_elimination(teacher: CountedTeacher, question: str, evolved: str) -> Elimination | None:
    """Rule 1 by the teacher's judgement."""
    reply = await teacher.ask("judge", equality_messages(question, evolved))
    if says_equal(reply.text):
        return Elimination("equal", f"the teacher judged {reply.text.strip()[:40]!r}")
    return None


def _columns(usage: RowUsage) -> dict[str, Any]:
    return {
        "requests": usage.requests,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": usage.usd,
    }
