"""The loop of WizardCoder (section 3.2, and 4.5 on the rounds), from the seeds to the best checkpoint.

The base model is measured, and where the recipe says so, as the paper does, a model fine-tuned on the seeds
alone, with which the rounds are compared. Then each round evolves the instructions of the round before,
merges what it kept with the seeds and all rounds so far, fine-tunes the base model on that, and measures the
checkpoint. A rule that looks at the scores says when to stop; the best checkpoint is kept. Beyond the paper,
a recipe may let that one learn from execution; what comes of it is kept where it scores higher.

`steps.py` does the steps, each of them once, `stopping.py` has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from evolcoder.errors import BudgetExhaustedError
from evolcoder.loop.steps import Steps
from evolcoder.loop.stopping import Decision, RoundScore, decide, kept_round
from evolcoder.recipe import Budget, Reinforcement, Rounds, StopRule
from evolcoder.records import REINFORCED_ROUND, SEEDS_ROUND


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What the rounds came to."""

    history: tuple[RoundScore, ...]
    """Base model first, then the seeds' model if there is one; only rounds that came to their end; last the
    model that learnt from execution, if there is one."""
    decisions: tuple[Decision, ...]
    """One after each round, and one before the first; the last one stopped."""
    best: RoundScore | None
    """The round that is kept (0: the base model); None where none was measured."""


def wizardcoder(
    steps: Steps, stop: StopRule, rounds: Rounds, budget: Budget, last: Reinforcement | None = None
) -> LoopResult:
    """Go round until the rule `stop`, `rounds.max_rounds` or the budget says stop.

    A round that meets the budget's end does not count, and ends the run; in the first round, where there is
    nothing to keep yet, BudgetExhaustedError is raised. Then the kept model learns from execution as `last`
    says. Raises what the steps raise.
    """
    steps.take_seeds()
    history = [steps.measure(0)]
    if rounds.train_seeds:
        steps.fine_tune(SEEDS_ROUND)
        history.append(steps.measure(SEEDS_ROUND))
    decisions = [decide(stop, rounds.max_rounds, budget, history)]
    while not decisions[-1].stop:
        number = len(decisions)
        try:
            steps.evolve_and_merge(number)
            steps.fine_tune(number)
            history.append(steps.measure(number))
        except BudgetExhaustedError as error:
            if number == 1:
                raise
            reason = f"the budget ended within round {number}, which does not count: {error}"
            decisions[-1] = Decision(history[-1].round, True, reason)
            break
        decisions.append(decide(stop, rounds.max_rounds, budget, history))
    kept = kept_round(stop, history)
    if last is not None and kept is not None:
        try:
            steps.reinforce_kept(kept.round, last)
            history.append(steps.measure(REINFORCED_ROUND))
        except BudgetExhaustedError as error:
            reason = f"{decisions[-1].reason}; the budget ended before the kept model had learnt: {error}"
            decisions[-1] = replace(decisions[-1], reason=reason)
    return LoopResult(tuple(history), tuple(decisions), kept_round(stop, history))
