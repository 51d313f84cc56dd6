"""Compare two sets of verdicts problem by problem, with an exact paired test."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolcoder.evaluate.pass_at_k import paired_interval

Verdicts = Mapping[str, Sequence[float]]
"""By task id, one a sample."""
_ROUNDING = 1e-9
"""Means that differ by less are equal."""
_EVEN = (0.5, 0.5)


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
    """Exact two-sided binomial (McNemar) test on the problems that differ, or on the families that do; at
    the odds of each where A and B have unequal numbers of its samples."""
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


def compare(a: Verdicts, b: Verdicts, families: Mapping[str, str] | None = None) -> Comparison:
    """Compare verdicts by task id; of several samples, or judged ones, the sign of the means' difference.

    `families` names the family of each task that has kin (perturbations of one problem, say): the interval
    and the test then go over families, of which each is counted once.
    """
    common = [task for task in a if task in b and a[task] and b[task]]
    rates_a = [sum(a[task]) / len(a[task]) for task in common]
    rates_b = [sum(b[task]) / len(b[task]) for task in common]
    better_a = tuple(t for t, x, y in zip(common, rates_a, rates_b, strict=True) if x - y > _ROUNDING)
    better_b = tuple(t for t, x, y in zip(common, rates_a, rates_b, strict=True) if y - x > _ROUNDING)
    n = len(common)
    samples = sum(len(a[task]) for task in common), sum(len(b[task]) for task in common)
    clusters = [(families or {}).get(task, task) for task in common]
    low, high = paired_interval(rates_a, rates_b, samples, clusters)
    gains: dict[str, float] = {}
    members: dict[str, list[str]] = {}
    for task, family, x, y in zip(common, clusters, rates_a, rates_b, strict=True):
        gains[family] = gains.get(family, 0.0) + y - x
        members.setdefault(family, []).append(task)
    decided = sorted(family for family, gain in gains.items() if abs(gain) > _ROUNDING)
    odds = [_odds([(a[task], b[task]) for task in sorted(members[family])]) for family in decided]
    won_b = sum(gains[family] > 0 for family in decided)
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
        p_value=_exact_p(won_b, odds),
        only_in_a=tuple(task for task in a if task not in b),
        only_in_b=tuple(task for task in b if task not in a),
        n_families=len(gains) if len(gains) < n else None,
    )


def with_ids_of(known: Verdicts, other: Verdicts) -> dict[str, list[float]]:
    """Return `other` under the task ids that `known` has: "HumanEval_0" and "0" are its "HumanEval/0".

    A number alone, on either side, is taken where one problem of the other has it; other ids stay.
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


def _odds(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float]:
    """Return the chances that A's mean is the higher one and that B's is, where both are alike and differ.

    Even odds where both have as many samples. One sample against twenty of a model that passes 90% is higher
    in most problems, though nothing differs: what passed is then dealt out to A and B by chance.
    """
    if all(len(a) == len(b) for a, b in pairs):
        return _EVEN
    if not all(value in (0, 1) for pair in pairs for values in pair for value in values):
        return _EVEN  # what a judge found an answer to be worth
    chances = {0.0: 1.0}
    for a, b in pairs:
        n_a, n_b, passes = len(a), len(b), int(sum(a) + sum(b))
        dealt: dict[float, list[float]] = {}
        for in_a in range(max(0, passes - n_b), min(n_a, passes) + 1):
            ways = math.comb(n_a, in_a) * math.comb(n_b, passes - in_a) / math.comb(n_a + n_b, passes)
            gain = (passes - in_a) / n_b - in_a / n_a
            for before, chance in chances.items():
                key = round(before + gain, 9)
                dealt.setdefault(key, []).append(chance * ways)
        chances = {gain: math.fsum(parts) for gain, parts in dealt.items()}
    higher = math.fsum(chance for gain, chance in chances.items() if gain > _ROUNDING)
    lower = math.fsum(chance for gain, chance in chances.items() if gain < -_ROUNDING)
    return lower / (higher + lower), higher / (higher + lower)


def _exact_p(won: int, odds: Sequence[tuple[float, float]]) -> float:
    """Return the two-sided exact p value of `won` trials; `odds` are the chances to lose and to win each."""
    if all(chances == _EVEN for chances in odds):
        return exact_binomial_p(won, len(odds) - won)
    of_won = [1.0]  # the chance of each number of trials won
    for to_lose, to_win in odds:
        lost, gained = [*(c * to_lose for c in of_won), 0.0], [0.0, *(c * to_win for c in of_won)]
        of_won = [x + y for x, y in zip(lost, gained, strict=True)]
    return min(1.0, 2 * min(math.fsum(of_won[: won + 1]), math.fsum(of_won[won:])))


def exact_binomial_p(wins_a: int, wins_b: int) -> float:
    """Return the two-sided exact p value of `wins_a` against `wins_b` at even odds (McNemar, exact)."""
    n = wins_a + wins_b
    tail = sum(math.comb(n, i) for i in range(min(wins_a, wins_b) + 1))
    return min(1.0, float(2 * tail / 2**n))
