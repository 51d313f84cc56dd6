"""How far reviewers agree beyond chance, and win rates with intervals. Pure functions over plain choices.

Cohen's kappa for two people, Fleiss' kappa where everybody judged everything, Krippendorff's alpha (nominal)
for any number of people and gaps. Each is 1 where all say the same, 0 where they agree as often as chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evolcoder.evaluate.comparison import exact_binomial_p
from evolcoder.evaluate.pass_at_k import wilson_interval

_WORDS = ((0.0, "none"), (0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))


@dataclass(frozen=True, slots=True)
class WinRate:
    """How one model did against another on one criterion."""

    wins: int
    ties: int
    losses: int
    tasks: int
    """Tasks with a vote; a task's votes are averaged, so that no reviewer's zeal weighs more."""
    rate: float
    """Mean over tasks, a win as 1, a tie as 1/2, a loss as 0."""
    low: float
    high: float
    """95% interval over tasks."""
    p: float
    """Two-sided exact sign test over the tasks with a winner by their votes."""


def win_rate(votes: Mapping[Hashable, Sequence[float]]) -> WinRate | None:
    """Return the win rate of a model from its votes by task: 1 for a win, 0.5 for a tie, 0 for a loss.

    The interval is Wilson's with a task counted as one trial. A mean of values between 0 and 1 varies at most
    as much as a coin with the same mean, so ties and several votes a task make the interval too wide rather
    than too narrow, and it never shrinks to a point. None where nothing was voted on.
    """
    means = [math.fsum(values) / len(values) for values in votes.values() if values]
    if not means:
        return None
    every = [vote for values in votes.values() for vote in values]
    low, high = wilson_interval(math.fsum(means), len(means))
    return WinRate(
        wins=sum(vote == 1 for vote in every),
        ties=sum(vote == 0.5 for vote in every),
        losses=sum(vote == 0 for vote in every),
        tasks=len(means),
        rate=math.fsum(means) / len(means),
        low=low,
        high=high,
        p=exact_binomial_p(sum(m > 0.5 for m in means), sum(m < 0.5 for m in means)),
    )


def cohen_kappa(pairs: Iterable[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa (1960) of two people's choices; None for no item, or one answer everywhere."""
    pairs = list(pairs)
    if not pairs:
        return None
    first, second = (Counter(choices) for choices in zip(*pairs, strict=True))
    observed = sum(a == b for a, b in pairs) / len(pairs)
    expected = sum(first[choice] * second[choice] for choice in first) / len(pairs) ** 2
    return None if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)


def fleiss_kappa(items: Sequence[Sequence[str]]) -> float | None:
    """Return Fleiss' kappa (1971) of items that were each judged by the same number of people, two or more.

    None where it is not defined: no item, unequal numbers, or one same answer everywhere.
    """
    sizes = {len(choices) for choices in items}
    if len(sizes) != 1 or (n := sizes.pop()) < 2:
        return None
    counts = [Counter(choices) for choices in items]
    totals = sum(counts, Counter())
    observed = math.fsum(
        (sum(times**2 for times in item.values()) - n) / (n * (n - 1)) for item in counts
    ) / len(counts)
    expected = math.fsum((times / (n * len(counts))) ** 2 for times in totals.values())
    return None if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)


def krippendorff_alpha(items: Iterable[Sequence[str]]) -> float | None:
    """Return Krippendorff's alpha for nominal data (2011, section C) over each item's choices; gaps are fine.

    Items of one person are passed over. None where it is not defined: no item, or one answer everywhere.
    """
    totals: Counter[str] = Counter()
    disagreement = 0.0
    for choices in items:
        if (m := len(choices)) >= 2:
            counts = Counter(choices)
            totals += counts
            disagreement += (m * m - sum(times**2 for times in counts.values())) / (m - 1)
    n = sum(totals.values())
    expected = (n * n - sum(times**2 for times in totals.values())) / (n - 1) if n > 1 else 0.0
    return None if expected == 0 else 1 - disagreement / expected


def agreement_in_words(value: float | None) -> str:
    """Return the customary word for a kappa or alpha (Landis and Koch 1977)."""
    if value is None:
        return "not defined"
    return next((word for bound, word in _WORDS if value <= bound), "almost perfect")
