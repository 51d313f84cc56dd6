"""Fine-tuning: masks, packing, the training loop, checkpoints.

`train(base, data, settings, out, progress)` is the way in; torch is imported on its first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evolcoder.errors import require_packages
from evolcoder.train.settings import TrainSettings

if TYPE_CHECKING:
    from evolcoder.progress import Progress
    from evolcoder.records import Instruction
    from evolcoder.train.result import TrainResult

__all__ = ["TrainSettings", "train"]


def train(
    base: str,
    data: Sequence[Instruction],
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    held_out: Sequence[Instruction] = (),
    *,
    overwrite: bool = True,
) -> TrainResult:
    """Fine-tune `base` on `data` into the Hugging Face folder `out`; see `evolcoder.train.trainer.train`."""
    require_packages("fine-tuning", "train", "torch", "transformers")
    from evolcoder.train import trainer

    return trainer.train(base, data, settings, out, progress, held_out, overwrite=overwrite)
