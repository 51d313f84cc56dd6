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
    taken = [summaries[min(number, len(summaries) - 1)] for number in range(rounds)]
    scaled = [(summary, n_seeds / max(summary.asked, 1)) for summary in taken]
    requests = sum(summary.requests * scale for summary, scale in scaled)
    prompt = sum(summary.tokens["prompt"] * scale for summary, scale in scaled)
    completion = sum(summary.tokens["completion"] * scale for summary, scale in scaled)
    prices = [summary.usd * scale for summary, scale in scaled if summary.usd is not None]
    seconds = requests * seconds_per_request / concurrency
    if rpm is not None:
        seconds = max(seconds, requests / rpm * 60)
    if tpm is not None:
        seconds = max(seconds, (prompt + completion) / tpm * 60)
    return Estimate(
        rows_asked=round(sum(summary.asked * scale for summary, scale in scaled)),
        rows_kept=round(sum(summary.kept * scale for summary, scale in scaled)),
        requests=round(requests),
        prompt_tokens=round(prompt),
        completion_tokens=round(completion),
        usd=round(sum(prices), 4) if prices else None,
        seconds=round(seconds, 1),
        sample=max((summary.asked for summary in summaries), default=0),
    )
