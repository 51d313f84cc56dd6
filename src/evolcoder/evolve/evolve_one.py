"""One instruction in one round: evolve, eliminate, answer, eliminate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from evolcoder.errors import RequestFailedError, RequestRefusedError
from evolcoder.evolve.answering import Answering, AnswerVerifier, Rated
from evolcoder.evolve.elimination import Elimination, answer_elimination, instruction_elimination, says_equal
from evolcoder.evolve.methods import (
    Method,
    MethodSet,
    choose_method,
    equality_messages,
    evolution_messages,
    fraction_of,
)
from evolcoder.evolve.settings import AskSettings, EvolveSettings, Phase
from evolcoder.evolve.verification import PROGRAMS
from evolcoder.extraction.thinking import split_thinking
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request, Sampling
from evolcoder.records import Instruction, Lineage
from evolcoder.runs import content_hash


@dataclass(slots=True)
class RowUsage:
    """What the requests of one row came to; the same on a run and on its continuation."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None

    def add(self, completion: Completion) -> None:
        """Count one reply."""
        self.requests += 1
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        if completion.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + completion.cost_usd


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


class CountedTeacher:
    """Asks the teacher on behalf of one row, and keeps count."""

    def __init__(
        self,
        model: LanguageModel,
        settings: EvolveSettings,
        row_id: str,
        round_number: int,
        on_reply: Callable[[Completion], None],
    ) -> None:
        self._model, self.settings, self._on_reply = model, settings, on_reply
        self.row_id = row_id
        # From content, so that the same row asks the same again; by round, so that a row that was
        # eliminated is evolved differently next time.
        self._seed = int(fraction_of("sampling", settings.seed, row_id, round_number) * 2**31)
        self.usage = RowUsage()
        self.teachers: dict[str, None] = {}
        """Who answered, in the order of the requests; several where a pool of teachers was asked."""

    async def ask(self, phase: Phase, messages: tuple[Message, ...], index: int = 0) -> Completion:
        """Send one chat and return the reply, its reasoning apart from its text. May raise as the model."""
        own = self.settings.phases.get(phase) or AskSettings()
        if own.system:
            messages = (Message("system", own.system), *messages)
        temperature = own.temperature
        if temperature is None:
            temperature = 0.0 if phase in ("judge", "score") else self.settings.temperature
        top_p = self.settings.top_p if own.top_p is None else own.top_p
        most = {"evolve": self.settings.instruction_max_tokens, "judge": 16}
        sampling = Sampling(
            temperature=temperature,
            top_p=top_p if temperature else 1.0,
            max_tokens=own.max_tokens or most.get(phase, self.settings.max_tokens),
            seed=self._seed if temperature else 0,
            further_fields=own.further_fields,
        )
        completion = await self._model.complete(Request(messages, sampling, index))
        self.usage.add(completion)
        self._on_reply(completion)
        self.teachers[completion.model or self._model.name] = None
        reasoning, text = split_thinking(completion.text)
        if not reasoning and text == completion.text:
            return completion
        return replace(completion, text=text, reasoning=completion.reasoning or reasoning.strip())


@dataclass(frozen=True, slots=True)
class WrittenInstruction:
    """An instruction that the teacher wrote."""

    text: str = ""
    reasoning: str = ""
    elimination: Elimination | None = None
    preamble_cut: bool = False
    """Whether words around the instruction were cut off."""


WriteInstruction = Callable[[CountedTeacher, str, Method, MethodSet], Awaitable[WrittenInstruction]]
"""Asks a teacher for an instruction made of a text by a method; raises as the teacher does."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer to an evolved instruction."""

    text: str
    reasoning: str
    elimination: Elimination | None
    columns: dict[str, Any]
    """What verification found, and scores."""
    proved: bool = False


def question_of(row: Instruction) -> str:
    """Return an instruction with its input, as one question."""
    return f"{row.instruction}\n{row.input}" if row.input.strip() else row.instruction


async def evolve_row(
    parent: Instruction,
    model: LanguageModel,
    methods: MethodSet,
    settings: EvolveSettings,
    round_number: int,
    verifier: AnswerVerifier | None = None,
    on_reply: Callable[[Completion], None] = lambda completion: None,
    answering: Answering = PROGRAMS,
    write: WriteInstruction | None = None,
) -> EvolvedRow:
    """Evolve one instruction, answer it, and apply the rules in order of their price.

    `answering` says how the domain answers, `verifier` is one of its own. `on_reply` is called with each
    reply. `write` asks for the instruction in another way than evolution does. Raises EndpointError,
    BudgetExhaustedError; a single request that fails for good drops the row instead.
    """
    method = choose_method(methods, settings.seed, parent.id, round_number)
    teacher = CountedTeacher(model, settings, parent.id, round_number, on_reply)
    question = question_of(parent).rstrip()
    written = WrittenInstruction()
    elimination: Elimination | None = None
    answers: list[_Answer] = []
    scores: dict[str, float] = {}
    given = str(parent.extra.get("answer") or "") if method.keeps_answer else ""
    try:
        written = await (write or evolved_instruction)(teacher, question, method, methods)
        elimination = written.elimination
        if elimination is None and settings.judge:
            reply = await teacher.ask("judge", equality_messages(question, written.text))
            if says_equal(reply.text):  # rule 1, as the teacher says
                elimination = Elimination("equal", f"the teacher judged {reply.text.strip()[:40]!r}")
        if elimination is None:
            rated = Rated(question, written.text, "")
            scores, elimination = await _scores(teacher, rated, settings.scores, answering)
        if elimination is None:
            answers = await _answers(teacher, question, written.text, given, verifier, answering)
    except RequestRefusedError as error:
        elimination = Elimination("refused", str(error))
    except RequestFailedError as error:
        elimination = Elimination("no reply", str(error))
    if not answers:
        answers = [_Answer("", written.reasoning, elimination, _unverified(verifier))]
    elimination = answers[0].elimination
    by = "+".join(teacher.teachers) or model.name
    lineage = Lineage(parent.lineage.seed_id, parent.id, round_number, method.name, by)
    rows = []
    for number, answer in enumerate(answers):
        columns = {**answer.columns, **scores, **asdict(RowUsage() if number else teacher.usage)}
        if answer.reasoning:
            columns["reasoning"] = answer.reasoning
        which = (number,) if number else ()
        id_ = content_hash(parent.id, round_number, written.text, *which)[:16]
        rows.append(Instruction(id_, written.text, "", answer.text, lineage, columns))
    return EvolvedRow(rows[0], elimination, teacher.usage, tuple(rows[1:]), written.preamble_cut)


async def evolved_instruction(
    teacher: CountedTeacher, question: str, method: Method, methods: MethodSet
) -> WrittenInstruction:
    """Ask for a harder instruction, as the method's prompt does."""
    messages = evolution_messages(methods, method, question, teacher.settings.shots)
    return read_instruction(await teacher.ask("evolve", messages), question, method, methods)


def read_instruction(
    reply: Completion, question: str, method: Method, methods: MethodSet
) -> WrittenInstruction:
    """Read the instruction that a reply brings, and apply the rules that need only the two texts."""
    whole = reply.text.strip()
    text = without_preamble(whole)
    elimination = _no_text(reply, text) or instruction_elimination(question, text, method, methods)
    if elimination is None and reply.finish_reason == "length":
        elimination = Elimination("truncated", "the evolved instruction was cut off")
    return WrittenInstruction(text, reply.reasoning, elimination, text != whole)


async def _answers(
    teacher: CountedTeacher,
    parent: str,
    evolved: str,
    given: str,
    verifier: AnswerVerifier | None,
    answering: Answering,
) -> list[_Answer]:
    """Return the answers that stay; where none does, the first one with why it is dropped."""
    settings = teacher.settings
    replies: list[Completion] = []
    for index in range(settings.answers):
        try:
            replies.append(await teacher.ask("answer", answering.messages(evolved), index))
        except RequestFailedError:
            if index == settings.answers - 1 and not replies:
                raise
    distinct: dict[str, _Answer] = {}
    for reply in replies:
        text = reply.text.strip()
        if text in distinct:
            continue
        elimination = _no_text(reply, text) or answer_elimination(text, evolved)
        if elimination is None and reply.finish_reason == "length" and not settings.keep_truncated:
            elimination = Elimination("truncated", f"the answer was cut off at {settings.max_tokens} tokens")
        distinct[text] = _Answer(text, reply.reasoning, elimination, _unverified(verifier))
    given_often = Counter(reply.text.strip() for reply in replies)
    waiting = {text: given_often[text] for text, answer in distinct.items() if answer.elimination is None}
    if verifier is not None and waiting:
        found = await verifier.verify(evolved, waiting, teacher.ask, given)
        for text, verified in zip(waiting, found, strict=True):
            reasoning, columns = distinct[text].reasoning, dict(verified.columns)
            distinct[text] = _Answer(
                verified.answer, reasoning, verified.elimination, columns, verified.proved
            )
    kept = [answer for answer in distinct.values() if answer.elimination is None]
    if proved := [answer for answer in kept if answer.proved]:
        kept = proved  # an answer that nothing confirms is dropped beside one that passed
    if settings.keep_answers == "shortest":
        kept = sorted(kept, key=lambda answer: len(answer.text))[:1]
    scored = []
    for answer in kept:
        rated = Rated(parent, evolved, answer.text)
        scores, low = await _scores(teacher, rated, settings.scores, answering)
        scored.append(replace(answer, columns={**answer.columns, **scores}, elimination=low))
    return [a for a in scored if a.elimination is None] or scored[:1] or list(distinct.values())[:1]


async def _scores(
    teacher: CountedTeacher, rated: Rated, least: Mapping[str, float], answering: Answering
) -> tuple[dict[str, float], Elimination | None]:
    """Return the scores of an answer, or of the instruction alone, and what the first low one means."""
    found: dict[str, float] = {}
    for name, enough in least.items():
        rating = answering.ratings[name]
        if rating.of_answer == bool(rated.answer):
            found[name] = round(await rating.rate(rated, teacher.ask), 4)
            if found[name] < enough:
                why = f"{name} {found[name]:.2f}, at least {enough:g} expected"
                return found, Elimination("low score", why)
    return found, None


def _unverified(verifier: AnswerVerifier | None) -> dict[str, Any]:
    return {} if verifier is None else dict(verifier.unverified)


def _no_text(reply: Completion, text: str) -> Elimination | None:
    """What a reply that brought no text of use says of itself."""
    if reply.finish_reason == "content_filter":
        return Elimination("refused", f"the endpoint refused it: {text[:80]!r}")
    if reply.finish_reason == "length" and not text:
        return Elimination("truncated", "cut off before any text came")
    return None


_LONGEST = 300
"""Characters of a first or last paragraph beyond which it is no courtesy."""
_YES = r"(?:sure(?: thing)?|certainly|of course|absolutely|definitely|okay|ok|alright|great|no problem)"
_TEXT = r"(?:version|question|problem|task|instruction|prompt|challenge|exercise|rewrite|variation|variant)"
_NEW = (
    r"(?:more|harder|tougher|difficult|challenging|complex|advanced|revised|rewritten|reworded|modified|updated|"
    r"evolved|enhanced|improved|new|increased|upgraded|adjusted|final)"
)
_FIRST_LINE = re.compile(
    rf"\W{{0,4}}(?:{_YES}\b[^\n]*[:!.]|(?:{_YES}\b\W{{1,4}})?(?:here(?:'|’)?s|here is|below is|this is)\b"
    rf"[^\n]*\b{_NEW}\b[^\n]*\b{_TEXT}\b[^\n]*:)\W{{0,4}}",
    re.IGNORECASE,
)
_YES_ALONE = re.compile(rf"\W{{0,4}}{_YES}\b[^:\n]{{0,40}}[!.]", re.IGNORECASE)
_LABEL = re.compile(
    rf"[*_#\s]{{0,6}}(?:(?:the|your)\s)?(?:{_NEW}\s){{0,2}}(?:programming\s|coding\s|test\s){{0,2}}"
    rf"{_TEXT}(?:\sstatement)?\s?[*_]{{0,3}}\s?:\s?[*_]{{0,3}}[ \t]*\n?",
    re.IGNORECASE,
)
_LAST = re.compile(
    r"\W{0,4}(?:let me know|feel free to (?:ask|reach)|i hope (?:this|that)|hope (?:this|that)|"
    r"would you like me|if you(?:'d| would) like|please let me know|is there anything)\b",
    re.IGNORECASE,
)


def without_preamble(text: str) -> str:
    """Return an instruction without a teacher's words before and after it; as it is if nothing is left.

    Only what speaks of the task as a text goes: "Here is a broken function:" begins many an instruction.
    """
    rest = text.strip()
    first, newline, behind = rest.partition("\n")
    if len(first) <= _LONGEST and newline and behind.strip() and _is_courtesy(first):
        rest = behind.strip()
    if (label := _LABEL.match(rest[:_LONGEST])) is not None and rest[label.end() :].strip():
        rest = rest[label.end() :].strip()
    before, gap, last = rest.rpartition("\n\n")
    if gap and len(last) <= _LONGEST and before.strip() and _LAST.match(last):
        rest = before.rstrip().removesuffix("---").rstrip()
    return rest or text


def _is_courtesy(line: str) -> bool:
    if (found := _FIRST_LINE.fullmatch(line)) is None:
        return False
    # "Sure, write a function that adds: ..." is the instruction itself: a yes with more behind it must either
    # be all there is, or announce a text.
    return bool(
        _YES_ALONE.fullmatch(line.strip())
        or (
            re.search(rf"\b{_TEXT}\b", found[0], re.IGNORECASE)
            and re.search(r"\b(?:here|below|this|following)\b", found[0], re.IGNORECASE)
        )
    )
