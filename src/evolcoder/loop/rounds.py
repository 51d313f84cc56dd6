"""The rounds themselves: base model, then evolve, fine-tune and measure until the rule says stop.

As the paper tells it (WizardCoder 3.2, 4.5). How a round is done is the caller's; here are its order and its
end, which is why a simulated teacher and trainer can go through every case in a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from evolcoder.errors import BudgetExhaustedError
from evolcoder.loop.stopping import Decision, RoundScore


class RoundWork(Protocol):
    """Does rounds; asked again for one that is done, it only tells the score again."""

    def measure_base(self) -> RoundScore:
        """Return the base model's score."""
        ...

    def do_round(self, number: int) -> RoundScore:
        """Evolve, fine-tune and measure round `number`.

        Raises BudgetExhaustedError where a limit is reached within it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rounds came to."""

    history: tuple[RoundScore, ...]
    """Base model first; only rounds that came to their end."""
    decisions: tuple[Decision, ...]
    """One a score; the last one stopped."""


def go_round(work: RoundWork, decide: Callable[[Sequence[RoundScore]], Decision]) -> Outcome:
    """Go round until `decide`, which sees the history after each round, says stop.

    A round that meets the budget's end does not count, and ends the run; in the first round, where there is
    nothing to keep yet, BudgetExhaustedError is raised.
    """
    history = [work.measure_base()]
    decisions = [decide(history)]
    while not decisions[-1].stop:
        number = len(history)
        try:
            history.append(work.do_round(number))
        except BudgetExhaustedError as error:
            if number == 1:
                raise
            decisions[-1] = Decision(
                number - 1, True, f"the budget ended within round {number}, which does not count: {error}"
            )
            break
        decisions.append(decide(history))
    return Outcome(tuple(history), tuple(decisions))
