"""A simulated teacher and trainer: known scores and costs, real stages, interrupts where wanted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evolcoder.errors import BudgetExhaustedError
from evolcoder.loop.stages import Stage, Stages
from evolcoder.loop.stopping import RoundCost, RoundScore


class Interrupt(BaseException):
    """What a kill is to the simulation."""


@dataclass
class SimulatedSteps:
    """In place of `Steps`: round r passes the problems of `passed[r]` and costs `costs[r]`."""

    run: Path
    stages: Stages
    passed: Sequence[Sequence[bool]]
    costs: Sequence[RoundCost] = ()
    interrupts: set[int] = field(default_factory=set)
    """Moments, counted over all calls, at which the process dies: before or after a stage's work."""
    ends_within: int | None = None
    """Round in which the teacher's budget ends."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each stage's work was completed."""
    moment: int = 0

    def take_seeds(self) -> None:
        pass

    def evolve_and_merge(self, number: int) -> None:
        if number == self.ends_within:
            raise BudgetExhaustedError("no money")
        self._stage(f"evolve:{number}", f"data {number}")

    def fine_tune(self, number: int) -> None:
        self._stage(f"train:{number}", f"weights {number}")

    def measure(self, number: int) -> RoundScore:
        verdicts = {f"t/{i}": [passed] for i, passed in enumerate(self.passed[number])}
        path = self._stage(f"evaluate:{number}", json.dumps(verdicts))
        found = json.loads(path.read_text())
        value = sum(v[0] for v in found.values()) / len(found)
        cost = self.costs[number] if self.costs else RoundCost()
        return RoundScore(number, value, 0.0, 1.0, 10 * number, len(found), found, cost)

    def _stage(self, id_: str, product: str) -> Path:
        path = self.run / f"{id_.replace(':', '-')}.txt"

        with self.stages.doing(Stage(id_, id_, {}, {}, (), (path,))) as undone:
            if undone:
                self._tick()
                path.write_text(product)
                self.done[id_] += 1
                self._tick()
        return path

    def _tick(self) -> None:
        self.moment += 1
        if self.moment in self.interrupts:
            raise Interrupt


@dataclass
class InMemory:
    """In place of `Steps`, without stages, for what needs many examples."""

    passed: Sequence[Sequence[bool]]

    def take_seeds(self) -> None:
        pass

    def evolve_and_merge(self, number: int) -> None:
        pass

    def fine_tune(self, number: int) -> None:
        pass

    def measure(self, number: int) -> RoundScore:
        verdicts = {f"t/{i}": [passed] for i, passed in enumerate(self.passed[number])}
        value = sum(self.passed[number]) / len(verdicts)
        return RoundScore(number, value, 0.0, 1.0, 10 * number, len(verdicts), verdicts)


def until_done(work: SimulatedSteps, go: Callable[[SimulatedSteps], object]) -> object:
    """Start again after every interrupt, as a user does."""
    while True:
        try:
            return go(work)
        except Interrupt:
            continue
