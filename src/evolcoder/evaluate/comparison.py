"""Compare two sets of verdicts problem by problem, with an exact paired test."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolcoder.evaluate.pass_at_k import paired_interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of verdicts beside each other, on the problems that both have."""

    n_problems: int
    """Problems that both files have."""
    value_a: float
    """Mean pass rate of A over the common problems."""
    value_b: float
    difference: float
    """value_b - value_a."""
    low: float
    high: float
    """95% interval of the difference: Newcombe's for paired proportions, problems being the clusters."""
    only_a: tuple[str, ...]
    """Problems where A passes more often than B (with one sample each: A passes, B does not)."""
    only_b: tuple[str, ...]
    p_value: float
    """Exact two-sided binomial (McNemar) test on the problems that differ, or on the families that do."""
    only_in_a: tuple[str, ...]
    """Problems that only file A has; they are not compared."""
    only_in_b: tuple[str, ...]
    verdicts_a: str = ""
    """Where the verdicts of A come from: the file itself, or a benchmark and how it judged."""
    verdicts_b: str = ""
    subset_of: int | None = None
    """How many problems the benchmark has, where the comparison has fewer."""
    n_families: int | None = None
    """How many families the problems are of, over which interval and test go; None without families."""


def compare(
    a: Mapping[str, Sequence[float]],
    b: Mapping[str, Sequence[float]],
    families: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare verdicts by task id; of several samples, or judged ones, the sign of the means' difference.

    `families` names the family of each task that has kin (perturbations of one problem, say): the interval
    and the test then go over families, of which each is counted once.
    """
    common = [task for task in a if task in b and a[task] and b[task]]
    rates_a = [sum(a[task]) / len(a[task]) for task in common]
    rates_b = [sum(b[task]) / len(b[task]) for task in common]
    better_a = tuple(t for t, x, y in zip(common, rates_a, rates_b, strict=True) if x > y)
    better_b = tuple(t for t, x, y in zip(common, rates_a, rates_b, strict=True) if y > x)
    n = len(common)
    samples = sum(len(a[task]) for task in common), sum(len(b[task]) for task in common)
    clusters = [(families or {}).get(task, task) for task in common]
    low, high = paired_interval(rates_a, rates_b, samples, clusters)
    gains: dict[str, float] = {}
    for family, x, y in zip(clusters, rates_a, rates_b, strict=True):
        gains[family] = gains.get(family, 0.0) + y - x
    won_a, won_b = (sum(sign * gain > 1e-9 for gain in gains.values()) for sign in (-1, 1))
    value_a, value_b = (math.fsum(rates) / n if n else 0.0 for rates in (rates_a, rates_b))
    return Comparison(
        n_problems=n,
        value_a=value_a,
        value_b=value_b,
        difference=value_b - value_a,
        low=low,
        high=high,
        only_a=better_a,
        only_b=better_b,
        p_value=exact_binomial_p(won_a, won_b),
        only_in_a=tuple(task for task in a if task not in b),
        only_in_b=tuple(task for task in b if task not in a),
        n_families=len(gains) if len(gains) < n else None,
    )


def with_ids_of(
    known: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]
) -> dict[str, list[float]]:
    """Return `other` under the task ids that `known` has: "HumanEval_0" and "0" are its "HumanEval/0".

    A number alone, on either side, is taken where one problem of the other side has it. Other ids stay as
    they are.
    """
    by_parts: dict[tuple[str, str], list[str]] = {}
    for task in known:
        prefix, number = _parts(task)
        for key in {(prefix, number), ("", number)}:
            by_parts.setdefault(key, []).append(task)
    n_with_number = Counter(_parts(task)[1] for task in other)
    found: dict[str, list[float]] = {}
    for task, verdicts in other.items():
        prefix, number = _parts(task)
        same = [task] if task in known else by_parts.get((prefix, number), [])
        if not same and n_with_number[number] == 1:
            same = [t for t in by_parts.get(("", number), []) if not _parts(t)[0]]
        found.setdefault(same[0] if len(same) == 1 and number else task, []).extend(verdicts)
    return found


def _parts(task: str) -> tuple[str, str]:
    """Split "HumanEval/0", "humaneval_0" or "0" into a name in small letters and a number."""
    match = re.fullmatch(r"(?:([A-Za-z]+)[/_-])?0*(\d+)", task)
    return ((match[1] or "").lower(), match[2]) if match else (task, "")


def exact_binomial_p(wins_a: int, wins_b: int) -> float:
    """Return the two-sided exact p value of `wins_a` against `wins_b` at even odds (McNemar, exact)."""
    n = wins_a + wins_b
    tail = sum(math.comb(n, i) for i in range(min(wins_a, wins_b) + 1))
    return min(1.0, float(2 * tail / 2**n))
