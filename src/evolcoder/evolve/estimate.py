"""The time and cost of evolving a set of seeds, estimated from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolcoder.evolve.rounds import RoundSummary


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests, tokens, money and time of a whole run."""

    rows_asked: int
    """Instructions that would be evolved, over all rounds."""
    rows_kept: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    """None where no price is known."""
    seconds: float
    """At the concurrency and within the limits asked for, where the endpoint accepts them."""
    sample: int
    """Instructions that the estimate was made from."""


def estimate(
    summaries: Sequence[RoundSummary],
    n_seeds: int,
    rounds: int,
    seconds_per_request: float,
    concurrency: int,
    *,
    rpm: float | None = None,
    tpm: float | None = None,
) -> Estimate:
    """Scale a sample's rounds up to `n_seeds` seeds; rounds not sampled count as the last one that was.

    `seconds_per_request` is the mean time from sending to the reply; `rpm` and `tpm` are limits a minute.
    """
    asked = kept = requests = prompt = completion = 0.0
    usd: float | None = None
    for number in range(rounds):
        summary = summaries[min(number, len(summaries) - 1)]
        scale = n_seeds / max(summary.asked, 1)
        asked += summary.asked * scale
        kept += summary.kept * scale
        requests += summary.requests * scale
        prompt += summary.tokens["prompt"] * scale
        completion += summary.tokens["completion"] * scale
        if summary.usd is not None:
            usd = (usd or 0.0) + summary.usd * scale
    seconds = requests * seconds_per_request / concurrency
    if rpm is not None:
        seconds = max(seconds, requests / rpm * 60)
    if tpm is not None:
        seconds = max(seconds, (prompt + completion) / tpm * 60)
    return Estimate(
        rows_asked=round(asked),
        rows_kept=round(kept),
        requests=round(requests),
        prompt_tokens=round(prompt),
        completion_tokens=round(completion),
        usd=None if usd is None else round(usd, 4),
        seconds=round(seconds, 1),
        sample=max((summary.asked for summary in summaries), default=0),
    )
