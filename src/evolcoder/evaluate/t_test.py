"""Whether the means of two groups of trainings differ: Welch's t, Holm's correction, what a design can see.

One training is one draw of what a method gives: two equal methods, trained once each, differ by about a
point, which a test over problems takes for a difference of the methods. So the scores of several trainings
are compared, one number a training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

RUN_NOISE = 0.01
"""Standard deviation of pass@1 between trainings that differ in their seed alone: about one point."""
_FOUND_BY_WELCH = {2: 10.40, 3: 4.29, 4: 3.55, 5: 3.30}
"""By the trainings of an arm, the difference over its standard error that Welch's test finds in 80% of cases
(400,000 draws each); for more trainings the sum of two quantiles of t is within a fiftieth of it."""


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """The difference of two means of scores."""

    difference: float
    low: float
    high: float
    """95% interval."""
    p_value: float
    """Two-sided."""


def welch_test(first: Sequence[float], second: Sequence[float], step: float) -> MeanDifference:
    """Compare the means of two groups of scores (second less first) by Welch's t test (Biometrika 34, 1947).

    Scores are multiples of `step` (one sample's share), so the variance of a group is at least that of
    rounding to it. A group of one score is a constant: the base model, which no training made. Raises
    ValueError where both have one score only.
    """
    shares = [_variance(scores, step) / len(scores) if len(scores) > 1 else 0.0 for scores in (first, second)]
    error = math.sqrt(sum(shares))
    if error == 0.0:
        raise ValueError("a group of at least two scores is expected")
    groups = zip(shares, (first, second), strict=True)
    freedom = error**4 / sum(share**2 / (len(scores) - 1) for share, scores in groups if len(scores) > 1)
    difference = fmean(second) - fmean(first)
    half = t_quantile(0.975, freedom) * error
    p_value = two_sided_p(difference / error, freedom)
    return MeanDifference(difference, difference - half, difference + half, p_value)


def mean_interval(scores: Sequence[float], step: float) -> tuple[float, float]:
    """Return the 95% interval of a mean of two or more scores by Student's t, within 0 and 1."""
    half = t_quantile(0.975, len(scores) - 1) * math.sqrt(_variance(scores, step) / len(scores))
    return max(0.0, fmean(scores) - half), min(1.0, fmean(scores) + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number, in the same order (Holm, 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def smallest_difference(rate: float, problems: int, samples: int, seeds: int = 1) -> float:
    """Return the smallest difference in pass@1 that is found in 80% of cases at the 5% level.

    Of two models near the pass rate `rate`, each measured with so many samples of so many problems; with two
    or more `seeds`, of two methods with so many trainings each, at `RUN_NOISE`. Verdicts are taken to be
    independent: where both models pass the same problems, a smaller one is found. At most 1.
    """
    noise, factor = 0.0, sum(map(NormalDist().inv_cdf, (0.975, 0.8)))
    if seeds > 1:
        noise = RUN_NOISE**2
        factor = _FOUND_BY_WELCH.get(seeds) or sum(t_quantile(p, 2 * (seeds - 1)) for p in (0.975, 0.8))
    away = 1 if rate <= 0.5 else -1
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        other = min(1.0, max(0.0, rate + away * middle))
        of_verdicts = (rate * (1 - rate) + other * (1 - other)) / (problems * samples)
        found = middle >= factor * math.sqrt((of_verdicts + 2 * noise) / seeds)
        low, high = (low, middle) if found else (middle, high)
    return high


def two_sided_p(t: float, freedom: float) -> float:
    """Return the chance that Student's t with `freedom` degrees is at least as far from 0 as `t`."""
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def t_quantile(probability: float, freedom: float) -> float:
    """Return the value below which Student's t falls with a probability above 0.5 (and below 1)."""
    half = freedom / 2
    log_scale = math.lgamma(half + 0.5) - math.lgamma(half) - 0.5 * math.log(freedom * math.pi)
    # The tail is convex, and heavier than the normal one, so Newton's steps rise to the value from below.
    t = NormalDist().inv_cdf(probability)
    for _ in range(100):
        density = math.exp(log_scale - (half + 0.5) * math.log1p(t * t / freedom))
        rise = (two_sided_p(t, freedom) / 2 - (1 - probability)) / density
        t += rise
        if abs(rise) <= 1e-13 * t:
            break
    return t


def _variance(scores: Sequence[float], step: float) -> float:
    return max(variance(scores), step**2 / 12)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # From the last term to the first: so many terms are enough for 1e-12 up to a million degrees of freedom.
    terms = 40 + int(4 * math.sqrt(max(a, b)))
    fraction = 1.0
    for m in range(terms, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        fraction = 1.0 + odd / (1.0 + even / fraction)
    return math.exp(log_front) / (a * fraction)
