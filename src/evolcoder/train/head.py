"""What a model does to the logits after its output head: a scale, a soft cap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

_MULTIPLIERS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
_DIVISORS = ("logits_scaling",)
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


@dataclass(frozen=True, slots=True)
class HeadForm:
    """Logits are z = scale * (weight @ hidden + bias); with a soft cap, softcap * tanh(z / softcap)."""

    scale: float = 1.0
    softcap: float | None = None

    def logits(self, head: Any, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Return the logits of N positions, N x vocabulary, in fp32."""
        logits_NV = (
            self.scale * functional.linear(hidden_ND, head.weight, getattr(head, "bias", None)).float()
        )
        return logits_NV if self.softcap is None else self.softcap * torch.tanh(logits_NV / self.softcap)


def possible_forms(config: Any) -> Iterator[HeadForm]:
    """Yield the forms that the configuration's names suggest, the likeliest first.

    The same name means other things in some models (MPT's `logit_scale` is often None), so a form is taken
    only once it gives the model's own logits (`sanity_checks.choose_batching`).
    """
    text = config.get_text_config()
    scale = 1.0
    for name in _MULTIPLIERS:
        scale *= _number(text, name) or 1.0
    for name in _DIVISORS:
        scale /= _number(text, name) or 1.0
    caps = [cap for name in _SOFT_CAPS if (cap := _number(text, name))]
    form = HeadForm(scale, caps[0] if caps else None)
    yield form
    if form != HeadForm():
        yield HeadForm()


def _number(config: Any, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if isinstance(value, (int, float)) else None
