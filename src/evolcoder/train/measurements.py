"""Measurements of a training by step: loss, tokens, padding, time, memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

# Dense bf16 peak in TFLOP/s, from the vendors' data sheets, by a part of the device's name.
_PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "4090": 165, "B200": 2250}


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One optimizer step."""

    step: int
    """From 1."""
    loss: float
    """Mean over the step's supervised tokens, in nats."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Tokens that are not padding."""
    supervised: int
    slots: int
    """Positions computed, padding included."""
    seconds: float


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """The loss on rows that are not trained on."""

    step: int
    """Steps done; 0 before training."""
    loss: float
    """Mean over the rows' supervised tokens, in nats."""


@dataclass(slots=True)
class Measurements:
    """All steps so far, those before a resume included."""

    steps: list[StepRecord] = field(default_factory=list)
    evaluations: list[HeldOutLoss] = field(default_factory=list)
    """Held-out losses, in the order of their steps."""
    resumed_from: int = 0
    """Steps that an earlier process had done; 0 where training ran through."""

    @classmethod
    def resumed(cls, facts: Mapping[str, Any] | None) -> Measurements:
        """Take over what a checkpoint's facts hold; begin anew where there is none."""
        if facts is None:
            return cls()
        return cls(
            [StepRecord(**record) for record in facts["steps"]],
            [HeldOutLoss(**record) for record in facts["evaluations"]],
            int(facts["step"]),
        )

    @property
    def n_steps(self) -> int:
        """Steps done."""
        return len(self.steps)

    def facts(self) -> dict[str, Any]:
        """Return all steps as JSON-clean data."""
        return {
            "steps": [asdict(record) for record in self.steps],
            "evaluations": [asdict(record) for record in self.evaluations],
        }

    def summary(self) -> dict[str, Any]:
        """Return the totals that `training.json` opens with."""
        tokens = sum(record.tokens for record in self.steps)
        slots = sum(record.slots for record in self.steps)
        seconds = sum(record.seconds for record in self.steps)
        return {
            "losses": [record.loss for record in self.steps],
            "tokens": tokens,
            "supervised_tokens": sum(record.supervised for record in self.steps),
            "padding_share": 1.0 - tokens / slots if slots else 0.0,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds if seconds else 0.0,
            "resumed_from_step": self.resumed_from,
            "peak_memory_bytes": peak_memory_bytes(),
        }


def peak_memory_bytes() -> int:
    """Return the most memory this process held: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def model_flops_utilization(
    parameters: int, trainable: int, tokens_per_second: float, device: torch.device
) -> float | None:
    """Return the share of the device's peak that useful tokens take.

    A weight takes 4 FLOP a token (forward, and the gradient that goes through it), one that is trained 2 more
    for its own gradient. None where the device's peak is not known, as on CPUs. Attention's own FLOPs and
    what checkpointing recomputes are not counted, so the figure is a little low.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((1e12 * peak for part, peak in _PEAK_TFLOPS.items() if part in name), None)
    return None if peak is None else (4.0 * parameters + 2.0 * trainable) * tokens_per_second / peak
