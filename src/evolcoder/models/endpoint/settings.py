"""How a remote endpoint is asked: limits, retries, hedging, what counts as an answer, prices."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evolcoder.errors import check_above_zero, check_least


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Settings of one OpenAI-compatible endpoint (or several that serve the same model)."""

    concurrency: int = 1024
    """Most requests in flight; the number that the endpoint accepts is found automatically."""
    rpm: float | None = None
    """Requests a minute that the endpoint allows; None: found by its refusals."""
    tpm: float | None = None
    """Tokens a minute that the endpoint allows, prompt and answer together; None: no limit known."""
    timeout_s: float = 600.0
    """Longest wait for one answer before it is asked for again, in seconds."""
    connect_timeout_s: float = 10.0
    """Longest wait for a connection, in seconds."""
    max_attempts: int = 16
    """Most times one request is sent before it is given up while the endpoint answers others."""
    patience_s: float = 120.0
    """How long an endpoint that answered before may stay silent before the run stops, in seconds."""
    hedge_share: float = 0.0
    """Share of requests that may be asked a second time because the first is unusually slow; 0: never.
    The first answer counts; both may be billed."""
    on_empty: Literal["accept", "retry"] = "accept"
    """What to do with an empty answer that the endpoint counts tokens for: take it as the model's own (rule
    3 drops such a row), or ask again. One without any token is the endpoint's fault: asked again."""
    empty_retries: int = 3
    """How often an empty answer is asked for again, where it is, before it is taken as it is."""
    refused_retries: int = 2
    """How often an answer that the endpoint marks as refused is asked for again before it is taken."""
    on_length: Literal["accept", "retry"] = "accept"
    """What to do with an answer cut off at max_tokens: take it, or ask again and take the last."""
    length_retries: int = 2
    """How often, with on_length "retry"."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; the key itself is never written anywhere."""
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """What the endpoint calls the length limit; "auto": max_tokens until it asks for the other name."""
    omit: tuple[str, ...] = ()
    """Sampling fields to leave out: temperature, top_p, seed, stop. One that the endpoint refuses is left out
    by itself; stop strings that are not sent are cut off here."""
    reasoning_effort: str | None = None
    """How much a reasoning model shall think, in the endpoint's words: minimal, low, medium, high, none."""
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the model's chat template, where the server takes them: enable_thinking: false."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request, as they are."""
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers, name: the environment variable that holds the value."""
    organization: str | None = None
    """Sent as OpenAI-Organization."""
    project: str | None = None
    """Sent as OpenAI-Project."""
    usd_per_million_input: float | None = None
    """Price of a million prompt tokens; None: looked up for a known vendor."""
    usd_per_million_output: float | None = None
    """Price of a million answer tokens; None: looked up for a known vendor."""
    batch: bool = False
    """Ask through the OpenAI Batch API: half the price, answers within a day."""
    batch_wait_s: float = 30.0
    """How often a submitted batch is looked at, in seconds."""
    batch_timeout_s: float = 90_000.0
    """Longest wait for one batch, in seconds; by its own word OpenAI ends each within 24 hours."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers; raises ValueError that names the field."""
        check_least(self, 1, "concurrency", "max_attempts")
        check_least(
            self, 0, "empty_retries", "refused_retries", "length_retries", "hedge_share", "patience_s"
        )
        limits = ("rpm", "tpm", "timeout_s", "connect_timeout_s", "batch_wait_s", "batch_timeout_s")
        check_above_zero(self, *limits)
        for name in ("usd_per_million_input", "usd_per_million_output"):
            if (usd := getattr(self, name)) is not None and not 0 <= usd < math.inf:
                raise ValueError(f"{name} must be 0 or more, found {usd}")
        if (self.usd_per_million_input is None) != (self.usd_per_million_output is None):
            raise ValueError("usd_per_million_input and usd_per_million_output must be given together")
        unknown = set(self.omit) - {"temperature", "top_p", "seed", "stop"}
        if unknown:
            raise ValueError(f"omit may name temperature, top_p, seed, stop; found {sorted(unknown)}")
        check_extra_body(self.extra_body)

    def key_name(self, model: str) -> str:
        """Return what requests to a model are keyed by: other fields in each make another model of it."""
        further = self.further_fields
        return model + json.dumps(further, sort_keys=True) if further else model

    @property
    def further_fields(self) -> dict[str, Any]:
        """Fields of each request beside the question and its sampling."""
        fields = dict(self.extra_body)
        if self.reasoning_effort is not None:
            fields["reasoning_effort"] = self.reasoning_effort
        if self.chat_template_kwargs:
            fields["chat_template_kwargs"] = self.chat_template_kwargs
        return fields


_OWN_FIELDS = {"model", "messages", "prompt", "stream", "n", "best_of", "max_tokens", "max_completion_tokens"}


def check_extra_body(fields: Mapping[str, Any]) -> None:
    """Raise ValueError for a field of a request that evolcoder sets: another model has another price, too."""
    if taken := fields.keys() & _OWN_FIELDS:
        raise ValueError(f"extra_body: {min(taken)!r} is evolcoder's to set")
