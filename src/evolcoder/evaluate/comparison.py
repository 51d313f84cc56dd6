"""Compare two sets of verdicts problem by problem, with an exact paired test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolcoder.evaluate.pass_at_k import bootstrap_interval, paired_interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two judged sample files say of each other on the problems both have."""

    n_problems: int
    """Problems that both files have."""
    value_a: float
    """Mean pass rate of A over the common problems."""
    value_b: float
    difference: float
    """value_b - value_a."""
    low: float
    high: float
    """95% interval of the difference: Newcombe's for one sample a problem, else a bootstrap over problems."""
    only_a: tuple[str, ...]
    """Problems where A passes more often than B (with one sample each: A passes, B does not)."""
    only_b: tuple[str, ...]
    p_value: float
    """Exact two-sided binomial (McNemar) test on the problems that differ."""
    only_in_a: tuple[str, ...]
    """Problems that only file A has; they are not compared."""
    only_in_b: tuple[str, ...]


def compare(a: Mapping[str, Sequence[bool]], b: Mapping[str, Sequence[bool]]) -> Comparison:
    """Compare verdicts by task id; with many samples a problem, the sign of the pass rates' difference."""
    common = [task for task in a if task in b and a[task] and b[task]]
    rates_a = [sum(a[task]) / len(a[task]) for task in common]
    rates_b = [sum(b[task]) / len(b[task]) for task in common]
    better_a = tuple(t for t, x, y in zip(common, rates_a, rates_b, strict=True) if x > y)
    better_b = tuple(t for t, x, y in zip(common, rates_a, rates_b, strict=True) if y > x)
    differences = [y - x for x, y in zip(rates_a, rates_b, strict=True)]
    n = len(common)
    single = all(len(a[task]) == len(b[task]) == 1 for task in common)
    if single:
        both = sum(x == y == 1 for x, y in zip(rates_a, rates_b, strict=True))
        first, second = len(better_a), len(better_b)
        low, high = paired_interval(both, first, second, n - both - first - second)
    else:
        low, high = bootstrap_interval(differences)
    return Comparison(
        n_problems=n,
        value_a=math.fsum(rates_a) / n if n else 0.0,
        value_b=math.fsum(rates_b) / n if n else 0.0,
        difference=math.fsum(differences) / n if n else 0.0,
        low=low,
        high=high,
        only_a=better_a,
        only_b=better_b,
        p_value=exact_binomial_p(len(better_a), len(better_b)),
        only_in_a=tuple(task for task in a if task not in b),
        only_in_b=tuple(task for task in b if task not in a),
    )


def exact_binomial_p(wins_a: int, wins_b: int) -> float:
    """Return the two-sided exact p value of `wins_a` against `wins_b` at even odds (McNemar, exact)."""
    n = wins_a + wins_b
    tail = sum(math.comb(n, i) for i in range(min(wins_a, wins_b) + 1))
    return min(1.0, float(2 * tail / 2**n))
