"""The loss of TRL's first optimizer step on a few rows, unpacked, in fp32: an oracle for this project's loss.

    /tmp/trl/bin/python bench/peers/trl_loss.py --data code_alpaca_20k.json --rows 64

Runs where TRL is installed (`pip install trl==1.16.*` beside this project's dependencies). All rows are one
batch of SFTTrainer, by gradient accumulation, without packing; prompt and response are tokenized apart.
Prints the batch's loss (mean over supervised tokens), its gradient norm, and the supervised tokens.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.instructions import read_instructions
from evolcoder.models.local.weights import load_weights

ROWS_AT_ONCE = 4


class RecordingTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that keeps each micro-batch's share of the loss; its own log rounds."""

    shares: list[float]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Return what SFTTrainer returns, and note the loss."""
        found = super().compute_loss(*args, **kwargs)
        self.shares.append(float((found[0] if isinstance(found, tuple) else found).detach()))
        return found


class GradientNorm(TrainerCallback):
    """Keeps the norm of the whole gradient before the optimizer moves anything."""

    value = 0.0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        """Add up the gradients' squares."""
        gradients = (p.grad for p in context["model"].parameters() if p.grad is not None)
        self.value = float(sum(g.float().square().sum() for g in gradients)) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=64)
    options = parser.parse_args()
    model, tokenizer = load_weights("embedded", "fp32")
    items = []
    for row in read_instructions(options.data)[: options.rows]:
        prompt = tokenizer(instruction_prompt(row.instruction, row.input), add_special_tokens=False).input_ids
        response = [*tokenizer(row.response, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        mask = [0] * len(prompt) + [1] * len(response)
        items.append({"input_ids": prompt + response, "completion_mask": mask})
    norm = GradientNorm()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=ROWS_AT_ONCE,
            gradient_accumulation_steps=options.rows // ROWS_AT_ONCE,
            max_steps=1,
            use_cpu=True,
            bf16=False,
            packing=False,
            max_length=2048,
            completion_only_loss=True,
            max_grad_norm=0.0,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = RecordingTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(items),
            processing_class=tokenizer,
            callbacks=[norm],
        )
        trainer.shares = []
        trainer.train()
    supervised = sum(sum(item["completion_mask"]) for item in items)
    print(json.dumps({"loss": sum(trainer.shares), "grad_norm": norm.value, "supervised": supervised}))


if __name__ == "__main__":
    main()
