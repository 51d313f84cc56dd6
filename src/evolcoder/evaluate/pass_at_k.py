"""pass@k: the unbiased estimator (Chen et al. 2021, section 2.1) and its 95% interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from evolcoder.records import Score

_Z = 1.959963984540054
"""Standard normal quantile of 0.975."""
_RESAMPLES = 10_000


class Titled(Protocol):
    """A benchmark, as far as a score names it."""

    @property
    def title(self) -> str:
        """Name and data version."""
        ...


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of pass@k from `c` correct among `n` samples of one problem.

    It is 1 - C(n-c, k) / C(n, k), the chance that k of the n drawn without replacement hold a correct one.
    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"0 <= c <= n and 1 <= k <= n is expected, found n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def wilson_interval(passed: float, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval (1927) of a proportion, or of a mean; (0, 1) for n = 0.

    `passed` is the sum of `n` values between 0 and 1: a number of successes, or with parts of them.
    """
    if n == 0:
        return 0.0, 1.0
    p = passed / n
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(max(0.0, p * (1 - p)) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))


def paired_interval(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """Return the 95% interval of the difference of two proportions that were seen on the same problems.

    `both` problems pass twice, `first` and `second` only the one or the other time; the difference is the
    second proportion less the first. Newcombe's square-and-add of Wilson's intervals with a corrected
    correlation (Statistics in Medicine 17, 1998, p. 2635, method 10). Unlike a bootstrap it has a width where
    no problem differs. (-1, 1) without problems.
    """
    n = both + first + second + neither
    if n == 0:
        return -1.0, 1.0
    p, q = (both + first) / n, (both + second) / n
    (p_low, p_high), (q_low, q_high) = wilson_interval(both + first, n), wilson_interval(both + second, n)
    sides = (both + first) * (second + neither) * (both + second) * (first + neither)
    product: float = both * neither - first * second
    if product > 0:
        product = max(0.0, product - n / 2)
    phi = product / math.sqrt(sides) if sides else 0.0

    def width(mine: float, other: float) -> float:
        return math.sqrt(max(0.0, mine**2 - 2 * phi * mine * other + other**2))

    return q - p - width(q - q_low, p_high - p), q - p + width(q_high - q, p - p_low)


def bootstrap_interval(values: Sequence[float], resamples: int = _RESAMPLES) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean, resampled with a fixed seed; (0, 1) if empty."""
    if not values:
        return 0.0, 1.0
    import numpy as np

    rng = np.random.default_rng(0)
    values_N = np.asarray(values, dtype=float)
    means: list[float] = []
    for start in range(0, resamples, 1000):  # in parts: 1000 x 974 draws are 8 MB
        drawn = rng.integers(0, len(values_N), (min(1000, resamples - start), len(values_N)))
        means.extend(values_N[drawn].mean(axis=1).tolist())
    low, high = np.quantile(means, [0.025, 0.975])
    mean = float(values_N.mean())
    return min(float(low), mean), max(float(high), mean)


def scores_of_groups(
    verdicts_by_task: Mapping[str, Sequence[bool]],
    groups_of: Callable[[str], Sequence[str]],
    benchmark: Titled,
    settings: Mapping[str, str],
) -> list[Score]:
    """Return pass@1 of each part of a benchmark, as they appear; `groups_of` names the parts of a task."""
    parts: dict[str, dict[str, Sequence[bool]]] = {}
    for task_id, verdicts in verdicts_by_task.items():
        for group in groups_of(task_id):
            parts.setdefault(group, {})[task_id] = verdicts
    return [
        score
        for group, verdicts in parts.items()
        for score in scores_of(verdicts, (1,), f"{benchmark.title} ({group})", settings)
    ]


def scores_of(
    verdicts_by_task: Mapping[str, Sequence[bool]],
    ks: Sequence[int],
    benchmark: Titled | str,
    settings: Mapping[str, str],
) -> list[Score]:
    """Return pass@k with its 95% interval for each k that every problem has enough samples for.

    The mean goes over the problems given. Interval: Wilson where each problem has one sample, else the
    bootstrap over problems.
    """
    counts = [(len(v), sum(map(bool, v))) for v in verdicts_by_task.values() if v]
    title = benchmark if isinstance(benchmark, str) else benchmark.title
    fewest = min((n for n, _ in counts), default=0)
    scores = []
    for k in ks:
        if not 1 <= k <= fewest:
            continue
        values = [pass_at_k(n, c, k) for n, c in counts]
        single = all(n == 1 for n, _ in counts)
        interval = (
            wilson_interval(sum(c for _, c in counts), len(counts)) if single else bootstrap_interval(values)
        )
        scores.append(
            Score(
                benchmark=title,
                k=k,
                value=math.fsum(values) / len(values),
                low=interval[0],
                high=interval[1],
                n_problems=len(counts),
                n_samples=sum(n for n, _ in counts),
                settings=dict(settings),
            )
        )
    return scores
