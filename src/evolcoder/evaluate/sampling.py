"""Ask a model for its samples of a benchmark's problems, many at once, in a fixed order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evolcoder.errors import EndpointError, RequestFailedError
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.evaluate.styles import answer_text
from evolcoder.execution.bounded import map_bounded
from evolcoder.models.protocol import Completion, LanguageModel, Request, Sampling
from evolcoder.records import Problem

Item = TypeVar("Item")

IN_FLIGHT = 4096
"""Requests begun at once. An endpoint bounds itself; a model in this process takes its waves from all that
wait, and the same ones again after a restart, so this number must not depend on anything that is timed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the model to one problem, before a program is made of it."""

    problem: Problem
    index: int
    prompt: str
    """The prompt as text where it was text, "" for a chat."""
    raw: str
    completion: Completion
    absent: str = ""
    """Why there is no answer; "" where there is one."""


class ChatOnlyError(EndpointError):
    """The endpoint has no address for raw prompts."""


def subset(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """Return `limit` items evenly spaced over the sequence, the same ones every time; all for None."""
    n = len(items)
    if limit is None or limit >= n:
        return tuple(items)
    return tuple(items[i * n // limit] for i in range(limit))


def sampling_of(settings: EvaluationSettings, temperature: float, stop: tuple[str, ...]) -> Sampling:
    """Return how one answer is drawn at a temperature; a greedy one has no nucleus."""
    top_p = settings.top_p if temperature > 0 else 1.0
    return Sampling(temperature, top_p, settings.max_tokens, stop, settings.seed)


def requests_for(
    benchmark: Benchmark, problems: Sequence[Problem], settings: EvaluationSettings
) -> Iterator[tuple[Problem, Request]]:
    """Yield `settings.n` requests a problem."""
    for problem in problems:
        ask = benchmark.ask(problem, settings.style, settings.preset)
        sampling = sampling_of(settings, settings.temperature, ask.stop)
        for index in range(settings.n):
            yield problem, Request(ask.prompt, sampling, index)


async def completion_of(model: LanguageModel, request: Request) -> tuple[Completion, str]:
    """Return the model's reply, and why there is none of use or ""; raises what stops every request."""
    try:
        completion = await model.complete(request)
    except RequestFailedError as error:
        return Completion("", "stop", 0, 0), " ".join(str(error).split())
    except EndpointError as error:
        if isinstance(request.prompt, str) and "HTTP 404" in str(error):
            raise ChatOnlyError(f"{error}; a server that only chats is asked with --style chat") from error
        raise
    if not completion.text.strip() and completion.finish_reason != "stop":
        return completion, f"no text, it ended with {completion.finish_reason!r}"
    return completion, ""


def answers(
    model: LanguageModel, benchmark: Benchmark, problems: Sequence[Problem], settings: EvaluationSettings
) -> AsyncGenerator[Answer, None]:
    """Yield the model's answers by problem and index, absent ones too; raises what stops every request."""

    async def ask(item: tuple[Problem, Request]) -> Answer:
        problem, request = item
        prompt = request.prompt if isinstance(request.prompt, str) else ""
        completion, absent = await completion_of(model, request)
        raw = answer_text(settings.style, completion.text)
        return Answer(problem, request.index, answer_text(settings.style, prompt), raw, completion, absent)

    return map_bounded(ask, requests_for(benchmark, problems, settings), IN_FLIGHT)
