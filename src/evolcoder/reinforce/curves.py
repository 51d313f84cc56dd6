"""What is told of a run of learning from execution. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One step of GRPO; shares in [0, 1], means over all answers sampled in the step."""

    step: int
    reward: float
    passed: float
    """Share of the rewarded tests that passed."""
    solved: float
    """Answers that passed all of them."""
    watched: float | None
    """Share of the watched tests that passed."""
    gap: float | None
    """Rewarded minus watched, over answers whose tasks have both: rises where the tests are hacked."""
    tokens: float
    """Mean length of an answer."""
    truncated: float
    with_signal: float
    """Groups whose answers earned different rewards; the others teach nothing."""
    answers: int
    loss: float
    grad_norm: float
    learning_rate: float
    seconds: float
    seconds_sampling: float
    seconds_judging: float
    entropy: float
    """Of the policy at the answers' tokens, in nats."""
    clipped: float
    """Tokens whose ratio was out of bounds."""
    kl: float
    """Divergence from the first model, in nats a token; 0 where it is not asked for."""
    sampler_difference: float
    """Mean difference between the log-probabilities of the sampler and of the trainer, in nats."""
    largest_difference: float


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """How many held-out tasks the model solved after `step` steps."""

    step: int
    solved: float
    watched: float | None
    n_tasks: int
    n_samples: int


@dataclass(slots=True)
class Curves:
    """All steps and measurements of a run so far."""

    steps: list[PolicyStep] = field(default_factory=list)
    held_out: list[HeldOutScore] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return them as JSON-clean data, under names that `training.json` does not use itself."""
        return {
            "curve": [asdict(record) for record in self.steps],
            "held_out": [asdict(score) for score in self.held_out],
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Curves:
        """Return what `facts` gave."""
        return cls(
            [PolicyStep(**record) for record in facts["curve"]],
            [HeldOutScore(**score) for score in facts["held_out"]],
        )


def mean(values: Sequence[float]) -> float:
    """Return the mean, 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
