"""The interface of a language model (`LanguageModel`): it completes requests, and each request has a key.

Every backend (HTTP endpoint, transformers in this process, vLLM) implements it. The journal wraps any of them
and repeats the answers that it holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, Protocol, Self, runtime_checkable

from evolcoder.runs import content_hash

FinishReason = Literal["stop", "length", "content_filter"]
"""Why an answer ends: by itself, at max_tokens, or refused by the endpoint or its filter."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is decoded. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2048
    """Most new tokens in the answer."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer; they are not part of it."""
    seed: int = 0
    further_fields: str = ""
    """Further fields of the request to an endpoint, as JSON; a model in this process has no use for them."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model: chat messages, or a raw prompt that is continued as it stands.

    `index` tells apart repeated samples of one question (0 to n-1).
    """

    prompt: tuple[Message, ...] | str
    sampling: Sampling = Sampling()
    index: int = 0

    @property
    def plain_prompt(self) -> str | list[list[str]]:
        """The prompt as JSON has it."""
        return self.prompt if isinstance(self.prompt, str) else [[m.role, m.content] for m in self.prompt]

    def key(self, model_name: str) -> str:
        """Return the content key of this request to this model: the journal's primary key."""
        # Rows have seeds of their own, so that each request comes here; `asdict` takes ten times as long.
        sampling = {name: getattr(self.sampling, name) for name in _SAMPLING_FIELDS}
        if not self.sampling.further_fields:
            del sampling["further_fields"]  # keys of older journals know no such field
        parts = map(_encode, (model_name, self.plain_prompt, sampling))
        return content_hash(*(part.encode("utf-8", "surrogatepass") for part in parts), b"%d" % self.index)


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer, with what it cost."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None = None
    """Price of this request; None where no price is known."""
    seconds: float = 0.0
    """From sending to the whole reply."""
    cached: bool = False
    """True where the journal answered and nothing was sent."""
    model: str = ""
    """Name of the model that answered, where several stand behind one name; "" where the asked one did."""
    reasoning: str = ""
    """What the model thought before it answered, where its endpoint tells it apart from the answer."""


class LanguageModel(Protocol):
    """Anything that completes requests. Safe to call from many tasks of one event loop.

    An async context manager that closes it; a class that inherits this one has that for nothing.
    """

    @property
    def name(self) -> str:
        """Name that identifies the weights behind it; part of every request's key."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer one request; raises EndpointError if out of reach, BudgetExhaustedError at a limit."""
        ...

    async def close(self) -> None:
        """Release connections, threads and memory."""
        ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


@runtime_checkable
class Watchable(Protocol):
    """A model in this process, whose answers come many at a time: it can tell of each step."""

    def watch(self, watcher: Callable[[int, int], None] | None) -> None:
        """Tell `watcher`, on the event loop, the tokens and answers that each step gave."""
        ...


_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
_SAMPLING_FIELDS = tuple(field.name for field in fields(Sampling))
