"""How an in-process model is loaded and run; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evolcoder.errors import check_least

Dtype = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Settings of in-process generation."""

    dtype: Dtype = "auto"
    """Number format of the weights; "auto": bf16 on a GPU or a CPU that multiplies it, else fp32."""
    device: str = "auto"
    """A torch device name; "auto": the first GPU where there is one, else the CPU."""
    batch_size: int = 192
    """Most answers that are written side by side; fewer where a quarter of the memory does not hold them."""
    wave_size: int = 256
    """Most requests that are taken together; of fewer, a quarter of what waits, and at least two batches.
    Within a wave a waiting row takes a finished one's place; a killed run repeats at most one wave."""
    replicas: int = 1
    """Copies of the weights that write at once, a GPU each (data parallel); 0: as many as there are GPUs."""
    tensor_parallel: int = 1
    """GPUs that hold one copy together; more than 1 with vLLM only."""
    context_tokens: int | None = None
    """Most tokens of prompt and answer together; None: what the model was trained for."""

    def __post_init__(self) -> None:
        check_least(self, 0, "replicas")
        check_least(self, 1, "tensor_parallel", "batch_size", "wave_size", "context_tokens")
