"""When the rounds end and which round is kept: pure functions of what the rounds scored and spent.

A rule looks at the history, the base model first, and says whether to go on and why. All rules keep the round
with the highest score, the earliest of equals (less data, less training), unless the recipe keeps the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from evolcoder.errors import UserError
from evolcoder.evaluate.comparison import compare
from evolcoder.own_files import is_own, load_own_file
from evolcoder.recipe import Budget, StopRule
from evolcoder.records import SEEDS_ROUND


@dataclass(frozen=True, slots=True)
class RoundCost:
    """What was spent: money and requests on the teacher, time on everything."""

    usd: float = 0.0
    requests: int = 0
    seconds: float = 0.0

    def __add__(self, other: RoundCost) -> RoundCost:
        return RoundCost(
            self.usd + other.usd, self.requests + other.requests, round(self.seconds + other.seconds, 3)
        )


@dataclass(frozen=True, slots=True)
class RoundScore:
    """What one round (0: the base model, SEEDS_ROUND: the seeds alone) came to on the deciding benchmark."""

    round: int
    value: float | None
    """pass@1 as a fraction; None where the round was not measured."""
    low: float | None
    high: float | None
    rows: int
    """Rows it was fine-tuned on."""
    n_problems: int
    """Problems it was measured on."""
    passed: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    """Verdicts by problem, for paired tests; what a judge gave, from 0 to 1, where a model judges."""
    cost: RoundCost = RoundCost()
    """Of this round alone."""
    families: Mapping[str, str] = field(default_factory=dict)
    """Of the problems that have kin, by problem: paired tests count each family once."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the rounds end after a round, and why or why not."""

    round: int
    stop: bool
    reason: str


Rule = Callable[[Sequence[RoundScore]], tuple[bool, str]]
"""Looks at the rounds so far, the base model first; returns whether to stop, and why."""


def decide(stop: StopRule, max_rounds: int, budget: Budget, history: Sequence[RoundScore]) -> Decision:
    """Apply the stopping rule to the rounds so far; `max_rounds` and the budget bound every rule.

    Where a model of the seeds alone was measured, rounds are compared with it and not with the base model.
    """
    last = history[-1]
    compared = history[1:] if any(score.round == SEEDS_ROUND for score in history) else history
    ends, reason = stopping_rule(stop)(compared)
    if not ends and last.round >= max_rounds:
        ends, reason = True, "; ".join(filter(None, (f"max_rounds = {max_rounds} reached", reason)))
    if not ends and (full := _next_round_does_not_fit(budget, history)):
        ends, reason = True, "; ".join(filter(None, (full, reason)))
    return Decision(last.round, ends, reason)


def stopping_rule(stop: StopRule) -> Rule:
    """Return the rule that a recipe names; raises UserError for a mistake in a user's own."""
    if not is_own(stop.rule):
        return partial(_RULES[stop.rule], stop)
    rule = load_own_file(Path(stop.rule))[0]
    if not callable(rule):
        raise UserError(f"{stop.rule}: a function load() that returns a stopping rule is expected")
    return cast(Rule, rule)


def best_round(history: Sequence[RoundScore]) -> RoundScore | None:
    """Return the best-scoring round, the earliest of equals; None where none was measured."""
    measured = [score for score in history if score.value is not None]
    return max(measured, key=lambda score: score.value or 0.0, default=None)


def kept_round(stop: StopRule, history: Sequence[RoundScore]) -> RoundScore | None:
    """Return the round that a run keeps; None where none was measured."""
    measured = [score for score in history if score.value is not None]
    return best_round(measured) if stop.keep == "best" or not measured else measured[-1]


def _decline(stop: StopRule, history: Sequence[RoundScore]) -> tuple[bool, str]:
    """Stop after the first round below the best before it (WizardCoder 3.2)."""
    return _against_the_best(history, lambda last, best: (True, ""))


def _significant(stop: StopRule, history: Sequence[RoundScore]) -> tuple[bool, str]:
    """Stop after a round below the best before it where an exact paired test over problems says so too."""

    def tested(last: RoundScore, best: RoundScore) -> tuple[bool, str]:
        found = compare(best.passed, last.passed, last.families)
        lost, gained, p = len(found.only_a), len(found.only_b), found.p_value
        counts = f"{lost} problem{'' if lost == 1 else 's'} lost, {gained} gained, p = {p:.2g}"
        if p <= stop.alpha:
            return True, f" ({counts}, at most alpha = {stop.alpha:g})"
        return False, f", but this may be chance ({counts}, above alpha = {stop.alpha:g})"

    return _against_the_best(history, tested)


def _patience(stop: StopRule, history: Sequence[RoundScore]) -> tuple[bool, str]:
    """Stop after `patience` measured rounds in a row without a new best."""
    measured = [score for score in history if score.value is not None]
    best = best_round(measured)
    if best is None:
        return False, ""
    waited = len(measured) - 1 - measured.index(best)
    if waited == 0:
        return False, _new_best(measured)
    rounds = f"{waited} round{'s' if waited > 1 else ''}"
    told = f"{rounds} without a score above {_named(best)} (patience = {stop.patience})"
    return waited >= stop.patience, told


def _never(stop: StopRule, history: Sequence[RoundScore]) -> tuple[bool, str]:
    """Leave it to `max_rounds` and the budget."""
    return False, ""


_RULES: Mapping[str, Callable[[StopRule, Sequence[RoundScore]], tuple[bool, str]]] = {
    "decline": _decline,
    "paper-v1": _decline,
    "patience": _patience,
    "significant": _significant,
    "budget": _never,
    "max_rounds": _never,
}


def _against_the_best(
    history: Sequence[RoundScore], lower: Callable[[RoundScore, RoundScore], tuple[bool, str]]
) -> tuple[bool, str]:
    """Compare the last round with the best before it; `lower` decides where it scored lower."""
    last, best = history[-1], best_round(history[:-1])
    if last.value is None or best is None or best.value is None:
        return False, ""
    if last.value >= best.value:
        return False, _new_best(history)
    ends, told = lower(last, best)
    return ends, f"round {last.round} scored {last.value:.1%}, below {_named(best)}{told}"


def _new_best(history: Sequence[RoundScore]) -> str:
    last, before = history[-1], best_round(history[:-1])
    if last.value is None or before is None or before.value is None:
        return ""
    if last.value > before.value:
        return f"round {last.round} scored {last.value:.1%}, above {_named(before)}"
    return f"round {last.round} scored {last.value:.1%}, as {_named(before)}"


def _named(score: RoundScore) -> str:
    names = {0: "the base model", SEEDS_ROUND: "the model of the seeds"}
    name = names.get(score.round, f"round {score.round}")
    return f"{name} with {score.value or 0.0:.1%}"


def _next_round_does_not_fit(budget: Budget, history: Sequence[RoundScore]) -> str:
    """Return why the next round, taken to spend what the last one did, is too much; "" where it fits."""
    total = sum((score.cost for score in history), RoundCost())
    last = history[-1].cost if history[-1].round > 0 else RoundCost()
    limits = (
        ("max_usd", budget.max_usd, total.usd, last.usd, "US dollars"),
        ("max_requests", budget.max_requests, total.requests, last.requests, "requests"),
        ("max_hours", budget.max_hours, total.seconds / 3600, last.seconds / 3600, "hours"),
    )
    for name, limit, spent, next_round, unit in limits:
        if limit is not None and (spent >= limit or spent + next_round > limit):
            return (
                f"{spent:.4g} of {limit:g} {unit} ({name}) are spent and a round takes about "
                f"{next_round:.4g}: the next one does not fit"
            )
    return ""
