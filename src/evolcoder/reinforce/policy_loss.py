"""Advantages and losses of GRPO, its corrections by name, and DPO; the numbers are TRL's.

Shapes: G answers of a group, N answers of a step, S supervised tokens of a micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from evolcoder.reinforce.settings import PolicyLoss, ReinforceSettings
from evolcoder.train.loss import Objective

_NO_DIVISION_BY_ZERO = 1e-4
_SUMS = ("entropy", "clipped", "kl", "sampler_difference")


def advantages(rewards: Sequence[float], loss: PolicyLoss) -> list[float]:
    """Return the advantage of each answer of one group (GRPO 4.1.2; Dr. GRPO 3.2 does not divide)."""
    mean = sum(rewards) / len(rewards)
    if loss == "dr_grpo":
        return [reward - mean for reward in rewards]
    deviation = math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1))
    return [(reward - mean) / (deviation + _NO_DIVISION_BY_ZERO) for reward in rewards]


def token_weights(lengths: Sequence[int], counts: Sequence[bool], settings: ReinforceSettings) -> list[float]:
    """Return the weight of each token of each answer, so that the losses of tokens add up to the step's.

    `lengths` in tokens; answers that do not count weigh nothing. "grpo": the mean over an answer, then over
    the answers; "dr_grpo": the sum, by the longest that an answer may be; "dapo": the mean over all tokens.
    """
    n = len(lengths)
    if settings.loss == "grpo":
        weights = [1.0 / (n * max(length, 1)) for length in lengths]
    elif settings.loss == "dr_grpo":
        weights = [1.0 / (n * settings.max_tokens)] * n
    else:
        tokens = sum(length for length, counted in zip(lengths, counts, strict=True) if counted)
        weights = [1.0 / max(tokens, 1)] * n
    return [weight if counted else 0.0 for weight, counted in zip(weights, counts, strict=True)]


@dataclass(slots=True)
class PolicyStats:
    """What is told of one pass over a step's answers; sums over tokens until it is read."""

    tokens: int = 0
    entropy: float = 0.0
    clipped: float = 0.0
    kl: float = 0.0
    sampler_difference: float = 0.0
    largest_difference: float = 0.0

    def means(self) -> dict[str, float]:
        """Return the means over tokens, and the largest difference of the sampler's log-probabilities."""
        told = {name: getattr(self, name) / max(self.tokens, 1) for name in _SUMS}
        return {**told, "largest_difference": self.largest_difference}


def all_stats(parts: Sequence[PolicyStats]) -> PolicyStats:
    """Return what was seen in all parts of a step's answers together."""
    sums = {name: sum(getattr(part, name) for part in parts) for name in ("tokens", *_SUMS)}
    return PolicyStats(**sums, largest_difference=max(part.largest_difference for part in parts))


def policy_objective(
    advantage_S: torch.Tensor,
    weight_S: torch.Tensor,
    settings: ReinforceSettings,
    stats: PolicyStats,
    *,
    sampled_S: torch.Tensor,
    old_S: torch.Tensor | None = None,
    reference_S: torch.Tensor | None = None,
) -> Objective:
    """Return the clipped surrogate of a micro-batch's tokens; the sum over a step's batches is its loss.

    `sampled_S` are the log-probabilities of the sampler, compared and told. `old_S` are those before the
    first update on this batch (absent: this is the first, and the ratio is 1); `reference_S` those of the
    first model.
    """
    low, high = settings.clip_range

    def objective(logp_S: torch.Tensor, entropy_S: torch.Tensor) -> torch.Tensor:
        before_S = logp_S.detach() if old_S is None else old_S
        ratio_S = torch.exp(logp_S - before_S)
        plain_S = ratio_S * advantage_S
        bounded_S = ratio_S.clamp(low, high) * advantage_S
        loss_S = -torch.minimum(plain_S, bounded_S)
        with torch.no_grad():
            difference_S = (before_S - sampled_S).abs()
            stats.tokens += len(logp_S)
            stats.entropy += float(entropy_S.sum())
            stats.clipped += float((bounded_S < plain_S).sum())
            stats.sampler_difference += float(difference_S.sum())
            stats.largest_difference = max(stats.largest_difference, float(difference_S.max()))
        if settings.kl and reference_S is not None:
            apart_S = reference_S - logp_S
            kl_S = torch.exp(apart_S) - apart_S - 1.0
            loss_S = loss_S + settings.kl * kl_S
            stats.kl += float(kl_S.detach().sum())
        return (loss_S * weight_S).sum()

    return objective


def preference_objective(
    lengths: Sequence[int], reference: Sequence[float], beta: float, n_pairs: int, margins: list[float]
) -> Objective:
    """Return DPO's loss of a micro-batch of whole pairs, chosen before rejected (equation 7).

    `lengths` are the supervised tokens of each answer, `reference` its log-probability under the first model,
    in nats. The sum over a step's micro-batches is the mean over its `n_pairs`; `margins` takes each pair's
    difference of implicit rewards.
    """

    def objective(logp_S: torch.Tensor, entropy_S: torch.Tensor) -> torch.Tensor:
        sums_N = torch.stack([part.sum() for part in torch.split(logp_S, list(lengths))])
        ratio_N = sums_N - torch.tensor(reference, dtype=sums_N.dtype, device=sums_N.device)
        margin_P = beta * (ratio_N[0::2] - ratio_N[1::2])
        margins.extend(margin_P.detach().tolist())
        return -functional.logsigmoid(margin_P).sum() / n_pairs

    return objective
