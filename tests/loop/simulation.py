"""A simulated teacher and trainer: known scores and costs, real stages, interrupts where wanted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evolcoder.errors import BudgetExhaustedError
from evolcoder.loop.stages import Stage, Stages
from evolcoder.loop.stopping import RoundScore, Spent


class Interrupt(BaseException):
    """What a kill is to the simulation."""


@dataclass
class SimulatedRounds:
    """Implements `RoundWork`: round r passes the problems of `passed[r]` and costs `costs[r]`."""

    run: Path
    stages: Stages
    passed: Sequence[Sequence[bool]]
    costs: Sequence[Spent] = ()
    interrupts: set[int] = field(default_factory=set)
    """Moments, counted over all calls, at which the process dies: before or after a stage's work."""
    ends_within: int | None = None
    """Round in which the teacher's budget ends."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each stage's work was completed."""
    moment: int = 0

    def measure_base(self) -> RoundScore:
        return self._measured(0)

    def do_round(self, number: int) -> RoundScore:
        if number == self.ends_within:
            raise BudgetExhaustedError("no money")
        self._stage(f"evolve:{number}", f"data {number}")
        self._stage(f"train:{number}", f"weights {number}")
        return self._measured(number)

    def _measured(self, number: int) -> RoundScore:
        verdicts = {f"t/{i}": [passed] for i, passed in enumerate(self.passed[number])}
        path = self._stage(f"evaluate:{number}", json.dumps(verdicts))
        found = json.loads(path.read_text())
        value = sum(v[0] for v in found.values()) / len(found)
        spent = self.costs[number] if self.costs else Spent()
        return RoundScore(number, value, 0.0, 1.0, 10 * number, len(found), found, spent)

    def _stage(self, id_: str, product: str) -> Path:
        path = self.run / f"{id_.replace(':', '-')}.txt"

        def make() -> None:
            self._tick()
            path.write_text(product)
            self.done[id_] += 1
            self._tick()

        self.stages.do(Stage(id_, id_, {}, {}, (), (path,), make))
        return path

    def _tick(self) -> None:
        self.moment += 1
        if self.moment in self.interrupts:
            raise Interrupt


@dataclass
class InMemory:
    """Implements `RoundWork` without stages, for what needs many examples."""

    passed: Sequence[Sequence[bool]]

    def measure_base(self) -> RoundScore:
        return self.do_round(0)

    def do_round(self, number: int) -> RoundScore:
        verdicts = {f"t/{i}": [passed] for i, passed in enumerate(self.passed[number])}
        value = sum(self.passed[number]) / len(verdicts)
        return RoundScore(number, value, 0.0, 1.0, 10 * number, len(verdicts), verdicts)


def until_done(work: SimulatedRounds, go: Callable[[SimulatedRounds], object]) -> object:
    """Start again after every interrupt, as a user does."""
    while True:
        try:
            return go(work)
        except Interrupt:
            continue
