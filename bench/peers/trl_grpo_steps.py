"""Seconds of each step of TRL's GRPOTrainer on given prompts.

    /tmp/trl/bin/python bench/peers/trl_grpo_steps.py MODEL prompts.json --steps 3 --group 8 --tasks 4 \\
        --max-tokens 64

The reward counts characters, so that judging is no part of it. Runs where TRL is installed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]


class Clock(TrainerCallback):
    """Notes when steps end."""

    def __init__(self) -> None:
        self.at = [time.monotonic()]

    def on_step_end(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        """Note one."""
        self.at.append(time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("prompts", type=Path)
    for name in ("steps", "group", "tasks", "max-tokens"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    clock = Clock()
    settings = GRPOConfig(
        tempfile.mkdtemp(),
        per_device_train_batch_size=options.group * options.tasks,
        num_generations=options.group,
        max_completion_length=options.max_tokens,
        max_steps=options.steps,
        loss_type="dapo",
        beta=0.0,
        learning_rate=1e-6,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
    )
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(options.model, dtype="float32"),
        lambda completions, **_: [len(text) % 7 / 7 for text in completions],
        settings,
        Dataset.from_list([{"prompt": text} for text in json.loads(options.prompts.read_text())]),
        processing_class=AutoTokenizer.from_pretrained(options.model),
        callbacks=[clock],
    )
    trainer.train()
    print(json.dumps([after - before for before, after in zip(clock.at[1:], clock.at[2:], strict=False)]))


if __name__ == "__main__":
    main()
