"""Fine-tuning: masks, packing, the training loop, checkpoints.

`train(base, data, settings, out, progress)` is the way in; torch is imported on its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evolcoder.errors import require_packages
from evolcoder.train.settings import TrainSettings

__all__ = ["TrainSettings", "train"]

if TYPE_CHECKING:
    from evolcoder.train.trainer import train
else:

    def train(*args: Any, **options: Any) -> Any:
        """Fine-tune a model into a Hugging Face folder, as `evolcoder.train.trainer.train` says."""
        require_packages("fine-tuning", "train", "torch", "transformers")
        from evolcoder.train import trainer

        return trainer.train(*args, **options)
