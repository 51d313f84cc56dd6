"""pass@k: the unbiased estimator (Chen et al. 2021, section 2.1), pass^k, and their 95% interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from evolcoder.records import Score

_Z = 1.959963984540054
"""Standard normal quantile of 0.975."""


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


def all_pass_of_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of pass^k, that all of k samples are correct (tau-bench, 2406.12045)."""
    return math.comb(c, k) / math.comb(n, k)


def wilson_interval(passed: float, n: float) -> tuple[float, float]:
    """Return the 95% Wilson score interval (1927) of a proportion, or of a mean; (0, 1) for n = 0.

    `passed` is the sum of `n` values between 0 and 1: a number of successes, or with parts of them.
    """
    if n == 0:
        return 0.0, 1.0
    p = passed / n
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(max(0.0, p * (1 - p)) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))


def paired_interval(
    first: Sequence[float],
    second: Sequence[float],
    samples: tuple[int, int] | None = None,
    families: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Return the 95% interval of the mean of `second` less that of `first`, pass rates of the same problems.

    `samples` are the samples in all of each; one a problem where absent. Problems of one family count as one
    cluster. Newcombe's square-and-add of Wilson intervals with a corrected correlation (Statistics in
    Medicine 17, 1998, p. 2635, method 10), with the effective number of problems. It has a width where no
    problem differs. (-1, 1) without problems.
    """
    n = len(first)
    if n == 0:
        return -1.0, 1.0
    p, q = math.fsum(first) / n, math.fsum(second) / n
    most = samples or (n, n)
    n_p, n_q = effective_problems(first, families, most[0]), effective_problems(second, families, most[1])
    (p_low, p_high), (q_low, q_high) = wilson_interval(p * n_p, n_p), wilson_interval(q * n_q, n_q)
    away = _away_from_mean(first, families), _away_from_mean(second, families)
    covariance = math.fsum(x * y for x, y in zip(*away, strict=True)) / n
    if covariance > 0:
        covariance = max(0.0, covariance - 1 / (2 * n))
    squares = [math.fsum(x**2 for x in sums) / n for sums in away]
    phi = covariance / math.sqrt(squares[0] * squares[1]) if min(squares) > 1e-12 else 0.0

    def width(mine: float, other: float) -> float:
        return math.sqrt(max(0.0, mine**2 - 2 * phi * mine * other + other**2))

    return q - p - width(q - q_low, p_high - p), q - p + width(q_high - q, p - p_low)


def effective_problems(
    values: Sequence[float], families: Sequence[str] | None = None, most: float | None = None
) -> float:
    """Return how many independent problems with one sample each would say as much about the mean.

    `values` are pass rates, one a problem; problems of one family (perturbations of one problem, say) count
    as one cluster. At least the number of clusters, so that an interval has a width where all or no samples
    pass; at most `most` (the samples in all), so that it has one where all problems pass equally often.
    """
    n = len(values)
    mean = math.fsum(values) / n
    sums = _away_from_mean(values, families)
    groups = len(sums)
    variance = math.fsum(x**2 for x in sums) * groups / max(1, groups - 1) / n**2
    found = mean * (1 - mean) / variance if variance > 0 else math.inf
    if groups == 1 or mean in (0.0, 1.0):
        found = groups
    least = groups if groups == n else min(groups, found)
    return max(1.0, min(max(found, least), most if most is not None else n))


def _away_from_mean(values: Sequence[float], families: Sequence[str] | None) -> list[float]:
    """Return how far the values of each cluster are from the mean of all, summed."""
    mean = math.fsum(values) / len(values)
    clusters: dict[str | int, list[float]] = {}
    for at, value in enumerate(values):
        clusters.setdefault(at if families is None else families[at], []).append(value - mean)
    return list(map(math.fsum, clusters.values()))


def scores_of(
    verdicts_by_task: Mapping[str, Sequence[bool]],
    ks: Sequence[int],
    title: str,
    settings: Mapping[str, str],
    family_of: Callable[[str], str] | None = None,
) -> list[Score]:
    """Return pass@k with its 95% interval for each k that every problem has enough samples for.

    The mean goes over the problems given. Interval: Wilson's with the effective number of problems, which is
    their number where each has one sample; `family_of` names the family of a task, where problems have kin.
    """
    judged = {task_id: v for task_id, v in verdicts_by_task.items() if v}
    counts = [(len(v), sum(map(bool, v))) for v in judged.values()]
    families = None if family_of is None else [family_of(task_id) for task_id in judged]
    fewest = min((n for n, _ in counts), default=0)
    n_samples = sum(n for n, _ in counts)
    scores = []
    for k in ks:
        if not 1 <= k <= fewest:
            continue
        values = [pass_at_k(n, c, k) for n, c in counts]
        value = math.fsum(values) / len(values)
        n_effective = effective_problems(values, families, max(len(values), n_samples / k))
        low, high = wilson_interval(value * n_effective, n_effective)
        scores.append(
            Score(
                benchmark=title,
                k=k,
                value=value,
                low=low,
                high=high,
                n_problems=len(counts),
                n_samples=n_samples,
                settings=dict(settings),
                all_pass=math.fsum(all_pass_of_k(n, c, k) for n, c in counts) / len(counts),
            )
        )
    return scores
