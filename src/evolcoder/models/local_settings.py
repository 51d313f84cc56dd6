"""How an in-process model is loaded and run; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Settings of in-process generation."""

    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the weights; "auto": bf16 on a GPU or a CPU that multiplies it, else fp32."""
    device: str = "auto"
    """A torch device name; "auto": the first GPU where there is one, else the CPU."""
    batch_size: int = 32
    """Most answers that are written side by side."""
    wave_size: int = 128
    """Most requests that are taken together. Within a wave a waiting row takes a finished one's place; a
    killed run repeats at most one wave."""
    context_tokens: int | None = None
    """Most tokens of prompt and answer together; None: what the model was trained for."""
