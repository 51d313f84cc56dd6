"""The votes of a study, a line of JSON each, on the disk before the next answer is shown; what they come to.

Lines are only ever appended; the newest of a reviewer, an item and a criterion counts. How far reviewers
agree beyond chance is told by Cohen's kappa for two people, Fleiss' kappa where everybody judged everything,
and Krippendorff's alpha (nominal) for any number of people and gaps: 1 where all say the same, 0 by chance.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from evolcoder.app.study import CHOICES, CRITERIA, Choice, Criterion, Item, Shown, Study, schedule
from evolcoder.evaluate.comparison import exact_binomial_p
from evolcoder.evaluate.pass_at_k import wilson_interval
from evolcoder.runs import sync_folder

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
    """Return Fleiss' kappa (1971) of items that equally many judged, two or more; None where not defined."""
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


VOTES_NAME = "votes.jsonl"


@dataclass(frozen=True, slots=True)
class Vote:
    """One choice of one reviewer."""

    reviewer: str
    item: int
    """The item's number in the study."""
    criterion: Criterion
    choice: Choice
    model_a: str
    """The model behind answer A."""
    model_b: str
    task: str
    seconds: float = 0.0
    """From showing the answers to the vote."""
    time: str = ""
    """When it was cast, ISO 8601 in UTC."""


@dataclass(frozen=True, slots=True)
class VoteFile:
    """What a file of votes holds."""

    votes: tuple[Vote, ...]
    """The votes that count, in the order in which they were first cast."""
    unreadable: int
    """Lines that are no vote: torn by a power cut, or edited by hand."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reviewer is."""

    index: int
    """In the reviewer's schedule, from 0; its length when all is done."""
    shown: Shown | None
    """What to show; None when all is done."""
    criterion: Criterion
    done: int
    """Items with all votes cast."""
    total: int


def append_vote(folder: Path, vote: Vote) -> None:
    """Append a vote durably; several processes may do so at once. Raises OSError where that fails."""
    line = json.dumps(asdict(vote), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    fd = os.open(folder / VOTES_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # the line before was torn: keep this one apart from it
        written = os.write(fd, line)
        os.fsync(fd)
        if not size:
            sync_folder(folder)
        if written < len(line):
            raise OSError(f"{folder / VOTES_NAME}: only a part of the vote could be written")
    finally:
        os.close(fd)


def read_votes(folder: Path) -> VoteFile:
    """Read the votes of a study; none where there is no file yet."""
    path = folder / VOTES_NAME
    votes: dict[tuple[str, int, Criterion], Vote] = {}
    unreadable = 0
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        if not line.strip():
            continue
        try:
            vote = _vote(json.loads(line))
        except (ValueError, KeyError, TypeError):
            unreadable += 1
            continue
        votes[vote.reviewer, vote.item, vote.criterion] = vote
    return VoteFile(tuple(votes.values()), unreadable)


def _vote(row: Mapping[str, object]) -> Vote:
    criterion = next((c for c in CRITERIA if c == row["criterion"]), None)
    choice = next((c for c in CHOICES if c == row["choice"]), None)
    if criterion is None or choice is None or not isinstance(row["item"], int):
        raise ValueError("no vote")
    return Vote(
        str(row["reviewer"]),
        row["item"],
        criterion,
        choice,
        str(row["model_a"]),
        str(row["model_b"]),
        str(row["task"]),
        float(str(row.get("seconds") or 0)),
        str(row.get("time") or ""),
    )


def position_of(study: Study, votes: Iterable[Vote], reviewer: str) -> Position:
    """Return where a reviewer goes on: the first item of their schedule without both votes."""
    cast = {(vote.item, vote.criterion) for vote in votes if vote.reviewer == reviewer}
    order = schedule(study, reviewer)
    missing = [
        (index, shown, criterion)
        for index, shown in enumerate(order)
        for criterion in CRITERIA
        if (shown.item.number, criterion) not in cast
    ]
    done = len(order) - len({index for index, _, _ in missing})
    if not missing:
        return Position(len(order), None, CRITERIA[0], done, len(order))
    return Position(*missing[0], done, len(order))


def earlier_position(study: Study, at: Position, reviewer: str) -> Position | None:
    """Return the vote before `at` in the reviewer's order, to be cast anew; None at the beginning."""
    order = schedule(study, reviewer)
    if at.shown is not None and at.criterion != CRITERIA[0]:
        return Position(at.index, at.shown, CRITERIA[CRITERIA.index(at.criterion) - 1], at.done, at.total)
    if at.index == 0:
        return None
    return Position(at.index - 1, order[at.index - 1], CRITERIA[-1], at.done, at.total)


@dataclass(frozen=True, slots=True)
class PairedWins:
    """Two models on one criterion."""

    model: str
    against: str
    criterion: Criterion
    rate: WinRate


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the reviewers agree on one criterion."""

    criterion: Criterion
    shared_items: int
    """Items judged by two reviewers or more."""
    same: float | None
    """Share of pairs of votes on one item that are the same; None without such a pair."""
    alpha: float | None
    """Krippendorff's, over all reviewers."""
    fleiss: float | None
    """Fleiss', over the items that every reviewer judged, where there are three reviewers or more."""
    pairs: tuple[tuple[str, str, int, float | None], ...]
    """(reviewer, reviewer, items in common, Cohen's kappa)."""


@dataclass(frozen=True, slots=True)
class Results:
    """What the votes of a study come to."""

    reviewers: Mapping[str, int]
    """Votes by reviewer."""
    comparisons: tuple[PairedWins, ...]
    agreements: tuple[Agreement, ...]


def results_of(study: Study, votes: Sequence[Vote]) -> Results:
    """Return win rates of every pair of models and the reviewers' agreement.

    Only votes on items of the study count, each read for the item's first model, whatever its side was.
    """
    items = {item.number: item for item in study.items}
    counted = [
        vote
        for vote in votes
        if vote.item in items and {vote.model_a, vote.model_b} == set(items[vote.item].models)
    ]
    comparisons = []
    for pair in dict.fromkeys(item.models for item in study.items):
        for criterion in CRITERIA:
            by_task: dict[Hashable, list[float]] = {}
            for vote in counted:
                if vote.criterion == criterion and items[vote.item].models == pair:
                    by_task.setdefault(vote.item, []).append(vote_worth(vote, pair[0]))
            if (rate := win_rate(by_task)) is not None:
                comparisons.append(PairedWins(*pair, criterion, rate))
    agreements = tuple(_agreement(criterion, counted, items) for criterion in CRITERIA)
    return Results(Counter(vote.reviewer for vote in counted), tuple(comparisons), agreements)


def vote_worth(vote: Vote, model: str) -> float:
    """Return 1, 0.5 or 0: what a vote says of a model against the other one."""
    if vote.choice == "tie":
        return 0.5
    return float((vote.model_a if vote.choice == "a" else vote.model_b) == model)


def _agreement(criterion: Criterion, votes: Sequence[Vote], items: Mapping[int, Item]) -> Agreement:
    said: dict[int, dict[str, str]] = {}
    for vote in votes:
        if vote.criterion == criterion:
            worth = vote_worth(vote, items[vote.item].models[0])
            said.setdefault(vote.item, {})[vote.reviewer] = f"{worth:g}"
    shared = [choices for choices in said.values() if len(choices) >= 2]
    reviewers = sorted({name for choices in said.values() for name in choices})
    same = [a == b for choices in shared for a, b in combinations(choices.values(), 2)]
    by_all = [list(choices.values()) for choices in shared if len(choices) == len(reviewers)]
    pairs = []
    for one, other in combinations(reviewers, 2):
        both = [(choices[one], choices[other]) for choices in shared if one in choices and other in choices]
        if both:
            pairs.append((one, other, len(both), cohen_kappa(both)))
    return Agreement(
        criterion=criterion,
        shared_items=len(shared),
        same=sum(same) / len(same) if same else None,
        alpha=krippendorff_alpha([list(choices.values()) for choices in said.values()]),
        fleiss=fleiss_kappa(by_all) if len(reviewers) >= 3 else None,
        pairs=tuple(pairs),
    )
