"""Ask the judge about answers, in a fixed order, and read its verdicts.

Side by side, each pair is shown in both orders: a win only where both say so, a loss likewise, else a tie
(MT-Bench, section 3.4). The question of a second turn is judged apart from that of the first, as published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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
from evolcoder.evaluate.sampling import IN_FLIGHT, completion_of
from evolcoder.execution.bounded import gathered
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request, Sampling
from evolcoder.progress import Bar

Said = Literal["win", "tie", "loss", "rated", "unreadable", "no answer"]
_OF_BOTH_ORDERS: dict[tuple[Choice | None, ...], tuple[Said, float]]
_OF_BOTH_ORDERS = {("A", "B"): ("win", 1.0), ("B", "A"): ("loss", 0.0)}
"""The verdict of (the answer as A, as B) where both orders agree; all else that can be read is a tie."""


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


_Turn = tuple[Dialogue, Dialogue | None, int, tuple[Request, ...]]
"""(dialogue, what it is set beside, number of the turn, what the judge is asked: () without an answer)."""


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
        dialogue, other, n, requests = turn
        # A request that alone gets no reply has an empty one, which nothing can be read from.
        completions = [(await completion_of(judge, request))[0] for request in requests]
        return _verdict(dialogue, other, n, completions)

    return await gathered(ask, _turns(benchmark, dialogues, others, settings), IN_FLIGHT, bar)


def judge_requests(
    benchmark: JudgedBenchmark, dialogue: Dialogue, other: Dialogue | None, settings: JudgeSettings
) -> list[Request]:
    """Return all that a judge is asked about one dialogue."""
    others = None if other is None else {dialogue.problem.task_id: other}
    return [r for *_, requests in _turns(benchmark, [dialogue], others, settings) for r in requests]


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
            asked, shown, answers = questions[:n], references[:n], dialogue.answers[:n]
            chats: list[tuple[Message, ...]] = []
            if other is None and _has(dialogue, n):
                chats = [rating_messages(asked, answers, shown, settings.shots)]
            elif other is not None and _has(dialogue, n) and _has(other, n):
                orders = ((answers, other.answers[:n]), (other.answers[:n], answers))
                chats = [pair_messages(asked, *order, shown, settings.shots) for order in orders]
            yield dialogue, other, n, tuple(Request(chat, sampling) for chat in chats)


def _has(dialogue: Dialogue, turn: int) -> bool:
    return len(dialogue.answers) >= turn and bool(dialogue.answers[turn - 1].strip())


def _verdict(
    dialogue: Dialogue, other: Dialogue | None, n: int, completions: Sequence[Completion]
) -> JudgedTurn:
    replies = [completion.text for completion in completions]
    choices: tuple[Choice | None, ...] = ()
    said: Said
    worth: float | None
    if not replies and other is None:
        said, worth = "no answer", LEAST / MOST
    elif not replies and other is not None:  # the side that answered wins
        ours, theirs = _has(dialogue, n), _has(other, n)
        said, worth = ("tie", 0.5) if ours == theirs else ("win", 1.0) if ours else ("loss", 0.0)
    elif other is None:
        rating = read_rating(replies[0])
        said, worth = ("unreadable", None) if rating is None else ("rated", rating / MOST)
    else:
        choices = tuple(map(read_choice, replies))
        said, worth = _OF_BOTH_ORDERS.get(choices, ("tie", 0.5)) if any(choices) else ("unreadable", None)
    prices = [completion.cost_usd for completion in completions if completion.cost_usd is not None]
    return JudgedTurn(
        task_id=dialogue.problem.task_id,
        index=dialogue.index,
        turn=n,
        said=said,
        worth=worth,
        choices=choices,
        longer_by=sum(map(len, dialogue.answers[:n])) - sum(map(len, other.answers[:n] if other else ())),
        replies=tuple(replies),
        prompt_tokens=sum(completion.prompt_tokens for completion in completions),
        completion_tokens=sum(completion.completion_tokens for completion in completions),
        cost_usd=sum(prices) if prices else None,
    )
