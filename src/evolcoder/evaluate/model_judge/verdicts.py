"""Ask the judge about answers, in a fixed order, and read its verdicts.

Side by side, each pair is shown in both orders: a win only where both say so, a loss likewise, else a tie
(MT-Bench, section 3.4). The question of a second turn is judged apart from that of the first, as published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evolcoder.errors import RequestFailedError
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.model_judge.dialogues import Dialogue
from evolcoder.evaluate.model_judge.judge_prompts import (
    LEAST,
    MOST,
    Choice,
    pair_messages,
    rating_messages,
    read_choice,
    read_rating,
)
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.evaluate.sampling import IN_FLIGHT
from evolcoder.execution.bounded import gathered
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request, Sampling
from evolcoder.progress import Bar

Said = Literal["win", "tie", "loss", "rated", "unreadable", "no answer"]


@dataclass(frozen=True, slots=True)
class JudgedTurn:
    """What the judge said of one turn of a dialogue."""

    task_id: str
    index: int
    turn: int
    """From 1."""
    said: Said
    worth: float | None
    """A rating over 10; 1 for a win, 0.5 for a tie, 0 for a loss; None where nothing can be read."""
    choices: tuple[Choice | None, ...] = ()
    """What each order was answered with, the model's answer being A first and B second; None: unreadable."""
    longer_by: int = 0
    """Characters of the model's answer less the other's."""
    replies: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None

    @property
    def label(self) -> str:
        """What was said, a rating with its number."""
        if self.said != "rated" or self.worth is None:
            return self.said
        return f"rated {MOST * self.worth:g}"


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn of a dialogue, with what the judge is asked about it."""

    dialogue: Dialogue
    other: Dialogue | None
    number: int
    requests: tuple[Request, ...]
    """None of them where an answer is missing: there is nothing to ask then."""


async def judged_turns(
    judge: LanguageModel,
    benchmark: JudgedBenchmark,
    dialogues: Sequence[Dialogue],
    others: Mapping[str, Dialogue] | None,
    settings: JudgeSettings,
    bar: Bar,
) -> list[JudgedTurn]:
    """Return a verdict on each turn of each dialogue, in their order.

    `others` are the dialogues to set beside these, by task id; None: each answer is rated alone. Raises what
    stops every request; the judge's replies so far are in its journal, if it has one.
    """

    async def ask(turn: _Turn) -> JudgedTurn:
        completions = [await _completion(judge, request) for request in turn.requests]
        return _verdict(turn, completions)

    return await gathered(ask, _turns(benchmark, dialogues, others, settings), IN_FLIGHT, bar)


def judge_requests(
    benchmark: JudgedBenchmark, dialogue: Dialogue, other: Dialogue | None, settings: JudgeSettings
) -> list[Request]:
    """Return all that a judge is asked about one dialogue."""
    others = None if other is None else {dialogue.problem.task_id: other}
    return [r for turn in _turns(benchmark, [dialogue], others, settings) for r in turn.requests]


def _turns(
    benchmark: JudgedBenchmark,
    dialogues: Sequence[Dialogue],
    others: Mapping[str, Dialogue] | None,
    settings: JudgeSettings,
) -> Iterator[_Turn]:
    sampling = Sampling(max_tokens=settings.max_tokens)
    for dialogue in dialogues:
        problem = dialogue.problem
        other = None if others is None else others[problem.task_id]
        questions, references = benchmark.turns(problem), benchmark.references(problem)
        for n in range(1, len(questions) + 1):
            asked = (questions[:n], references[:n])
            requests: tuple[Request, ...] = ()
            if _has(dialogue, n) and (other is None or _has(other, n)):
                beside = None if other is None else other.answers[:n]
                chats = _chats(dialogue.answers[:n], beside, *asked, settings.shots)
                requests = tuple(Request(chat, sampling) for chat in chats)
            yield _Turn(dialogue, other, n, requests)


def _chats(
    answers: Sequence[str],
    other: Sequence[str] | None,
    questions: Sequence[str],
    references: Sequence[str],
    shots: int,
) -> Iterator[tuple[Message, ...]]:
    if other is None:
        yield rating_messages(questions, answers, references, shots)
    else:
        yield pair_messages(questions, answers, other, references, shots)
        yield pair_messages(questions, other, answers, references, shots)


async def _completion(judge: LanguageModel, request: Request) -> Completion:
    """Ask the judge; a request that alone gets no reply has an empty one, which nothing can be read from."""
    try:
        return await judge.complete(request)
    except RequestFailedError:
        return Completion("", "stop", 0, 0)


def _has(dialogue: Dialogue, turn: int) -> bool:
    return len(dialogue.answers) >= turn and bool(dialogue.answers[turn - 1].strip())


def _verdict(turn: _Turn, completions: Sequence[Completion]) -> JudgedTurn:
    dialogue, other, n = turn.dialogue, turn.other, turn.number
    replies = [completion.text for completion in completions]
    choices: tuple[Choice | None, ...] = ()
    said: Said
    worth: float | None
    if not replies:
        said, worth = _without_answer(dialogue, other, n)
    elif other is None:
        rating = read_rating(replies[0])
        said, worth = ("unreadable", None) if rating is None else ("rated", rating / MOST)
    else:
        choices = tuple(map(read_choice, replies))
        said, worth = _of_both_orders(choices)
    prices = [completion.cost_usd for completion in completions if completion.cost_usd is not None]
    return JudgedTurn(
        task_id=dialogue.problem.task_id,
        index=dialogue.index,
        turn=n,
        said=said,
        worth=worth,
        choices=choices,
        longer_by=_length(dialogue, n) - (0 if other is None else _length(other, n)),
        replies=tuple(replies),
        prompt_tokens=sum(completion.prompt_tokens for completion in completions),
        completion_tokens=sum(completion.completion_tokens for completion in completions),
        cost_usd=sum(prices) if prices else None,
    )


def _without_answer(dialogue: Dialogue, other: Dialogue | None, turn: int) -> tuple[Said, float]:
    """Return the verdict where an answer is missing: the lowest rating, or the side that answered wins."""
    if other is None:
        return "no answer", LEAST / MOST
    ours, theirs = _has(dialogue, turn), _has(other, turn)
    if ours == theirs:
        return "tie", 0.5
    return ("win", 1.0) if ours else ("loss", 0.0)


def _of_both_orders(choices: Sequence[Choice | None]) -> tuple[Said, float | None]:
    """Return the verdict of (the answer as A, as B): a win or loss where both orders agree, else a tie."""
    if not any(choices):
        return "unreadable", None
    if choices == ("A", "B"):
        return "win", 1.0
    if choices == ("B", "A"):
        return "loss", 0.0
    return "tie", 0.5


def _length(dialogue: Dialogue, turn: int) -> int:
    return sum(map(len, dialogue.answers[:turn]))
