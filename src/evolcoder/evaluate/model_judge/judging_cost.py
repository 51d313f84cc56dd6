"""What a judged evaluation will cost, told before: from a sample of its problems, answered and judged.

The sample's replies are in the journal and are paid for once. What all requests say is known but for the
answers that they quote; a sample's mean stands for those, and its tokens a character for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.model_judge.dialogues import Dialogue, answer_request, answers_file
from evolcoder.evaluate.model_judge.judged_evaluation import (
    EvaluationContext,
    answer_and_judge,
    judged_benchmark,
)
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.evaluate.model_judge.verdicts import JudgedTurn, judge_requests
from evolcoder.evaluate.sampling import subset
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.models.protocol import Request
from evolcoder.models.session import ModelChoice
from evolcoder.records import Problem

SAMPLE = 20
"""Problems that an estimate is made from."""
ANSWER_TOKENS = 300
"""The length assumed of an answer that is not given yet."""
_ANY_ANSWER = ("-", "-")
"""Placeholders for the answers to both turns, before they are given."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one model of an evaluation is asked."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    """None where no price is known."""


@dataclass(frozen=True, slots=True)
class JudgedEstimate:
    """What a judged evaluation comes to."""

    benchmark: str
    problems: int
    sample: int
    """Problems that the estimate was made from."""
    model: Part
    """The answers of the model under test."""
    other: Part | None
    """Those of the model that it is set beside; None where no model is asked for them."""
    judge: Part

    @property
    def usd(self) -> float | None:
        """US dollars of all parts that have a price; None where none has."""
        prices = [part.usd for part in (self.model, self.other, self.judge) if part is not None]
        known = [price for price in prices if price is not None]
        return math.fsum(known) if known else None


async def estimate_judged(
    model: ModelChoice,
    benchmark_name: str,
    settings: EvaluationSettings,
    judge: JudgeSettings,
    context: EvaluationContext,
) -> JudgedEstimate:
    """Answer and judge a sample, and say what the whole comes to; raises what `evaluate_judged` does."""
    benchmark = judged_benchmark(benchmark_name)
    problems = subset(benchmark.problems, settings.limit)
    sample = subset(problems, SAMPLE)
    judged = await answer_and_judge(model, benchmark, sample, settings, judge, context)
    others = {dialogue.problem.task_id: dialogue for dialogue in judged.others}

    def asked(dialogue: Dialogue) -> list[Request]:
        turns = range(len(benchmark.turns(dialogue.problem)))
        return [answer_request(benchmark, dialogue.problem, settings, dialogue.answers[:n]) for n in turns]

    def of_judge(dialogue: Dialogue) -> list[Request]:
        other = others.get(dialogue.problem.task_id) if dialogue.answers != _ANY_ANSWER else None
        if other is None and judge.against:
            other = Dialogue(dialogue.problem, 0, _ANY_ANSWER)
        return judge_requests(benchmark, dialogue, other, judge)

    asked_other = bool(judge.against) and answers_file(judge.against, benchmark.name) is None
    return JudgedEstimate(
        benchmark=benchmark.name,
        problems=len(problems),
        sample=len(sample),
        model=_scaled(judged.answers, judged.answers, problems, settings.n, asked),
        other=_scaled(judged.others, judged.others, problems, 1, asked) if asked_other else None,
        judge=_scaled(judged.answers, judged.turns, problems, settings.n, of_judge),
    )


def expected_requests(
    benchmark: JudgedBenchmark, settings: EvaluationSettings, judge: JudgeSettings
) -> tuple[int, int]:
    """Return the judge's requests and about their tokens, an answer being `ANSWER_TOKENS` of 4 characters."""
    dialogues = [Dialogue(problem, 0, _ANY_ANSWER) for problem in subset(benchmark.problems, settings.limit)]
    characters = requests = 0
    sides = 2 if judge.against else 1
    for dialogue in dialogues:
        asked = judge_requests(benchmark, dialogue, dialogue if judge.against else None, judge)
        turns = len(benchmark.turns(dialogue.problem))
        # Each order shows both sides, each turn what came before it too.
        answers = sides * sides * turns * (turns + 1) // 2
        characters += sum(map(_characters, asked)) + 4 * ANSWER_TOKENS * answers
        requests += len(asked)
    return settings.n * requests, settings.n * characters // 4


def _scaled(
    sample: Sequence[Dialogue],
    paid: Sequence[Dialogue] | Sequence[JudgedTurn],
    problems: Sequence[Problem],
    n: int,
    requests_of: Callable[[Dialogue], list[Request]],
) -> Part:
    """Scale what the requests of a sample came to up to `n` samples of all problems."""

    def size(dialogues: Sequence[Dialogue]) -> tuple[int, int]:
        requests = [request for dialogue in dialogues for request in requests_of(dialogue)]
        return len(requests), sum(map(_characters, requests))

    prices = [one.cost_usd for one in paid if one.cost_usd is not None]
    prompt, reply = sum(one.prompt_tokens for one in paid), sum(one.completion_tokens for one in paid)
    asked, characters = size(sample)
    _, unquoted = size([replace(dialogue, answers=_ANY_ANSWER) for dialogue in sample])
    quoted = (characters - unquoted) / max(1, len(sample))
    requests, known = size([Dialogue(problem, 0, _ANY_ANSWER) for problem in problems])
    in_all = n * (known + quoted * len(problems))
    prompt_factor = in_all / max(1, characters)
    reply_factor = n * requests / max(1, asked)
    # What is known of a price is that of a request, prompt and reply together; both grow nearly alike.
    usd = math.fsum(prices) * (prompt * prompt_factor + reply * reply_factor) / max(1, prompt + reply)
    return Part(
        requests=n * requests,
        prompt_tokens=round(prompt * prompt_factor),
        completion_tokens=round(reply * reply_factor),
        usd=round(usd, 6) if prices else None,
    )


def _characters(request: Request) -> int:
    if isinstance(request.prompt, str):
        return len(request.prompt)
    return sum(len(message.content) for message in request.prompt)
