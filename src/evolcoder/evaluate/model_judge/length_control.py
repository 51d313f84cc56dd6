"""The length-controlled win rate: what the rate would be if both models' answers were of one length.

AlpacaEval 2's definition (Dubois et al. 2024, arXiv 2404.04475): a logistic regression of the judge's
preference on tanh of the difference in length over its standard deviation, on the instruction's difficulty
and on the model; the rate is the mean of its predictions where the length term is zero. Differences from
AlpacaEval's figures: its difficulties are fitted over its leaderboard's models on its own 805 instructions,
here the benchmark's own number stands for them; its two rewritten baselines, which steady the fit, are not
there, a weak quadratic penalty steadies it instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PENALTY = 0.01
"""Of half the squared weights: too weak to move a rate, and the weights stay finite where one model always
wins."""
_STEPS = 100
_LONGEST_STEP = 2.0
_CLOSE = 1e-9

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison, as far as length control sees it."""

    worth: float
    """1 where the model wins, 0.5 for a tie, 0 where it loses."""
    longer_by: int
    """Characters of the model's answer less those of the other's."""
    difficulty: float | None = None
    """Of the instruction; None where not known."""


def length_controlled_rate(compared: Sequence[Compared]) -> float:
    """Return the length-controlled win rate, a fraction; raises ValueError without a comparison."""
    if not compared:
        raise ValueError("no comparison")
    worth = np.array([one.worth for one in compared], dtype=np.float64)
    known = [one.difficulty for one in compared if one.difficulty is not None]
    middle = float(np.mean(known)) if known else 0.0
    length = np.tanh(_over_deviation(np.array([one.longer_by for one in compared], dtype=np.float64)))
    hard = np.array([(middle if one.difficulty is None else one.difficulty) - middle for one in compared])
    features = np.stack([length, _over_deviation(hard), np.ones(len(compared))], axis=1)
    weights = _fitted(features, worth)
    features[:, 0] = 0.0
    return float(np.mean(_logistic(features @ weights)))


def _over_deviation(values: Vector) -> Vector:
    """Return values over their standard deviation; zeros where they do not differ."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return values / deviation if deviation > 0 else np.zeros_like(values)


def _fitted(features: Vector, worth: Vector) -> Vector:
    """Return the weights of greatest penalised likelihood, by Newton's method."""
    weights = np.zeros(features.shape[1])
    penalty = _PENALTY * np.eye(features.shape[1])
    for _ in range(_STEPS):
        likely = _logistic(features @ weights)
        slope = features.T @ (likely - worth) + penalty @ weights
        bend = (features * (likely * (1 - likely))[:, None]).T @ features + penalty
        step = np.clip(np.linalg.solve(bend, slope), -_LONGEST_STEP, _LONGEST_STEP)
        weights -= step
        if float(np.max(np.abs(step))) < _CLOSE:
            break
    return weights


def _logistic(values: Vector) -> Vector:
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)
