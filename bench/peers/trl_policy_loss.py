"""Losses and gradients of TRL's GRPOTrainer and DPOTrainer on one given batch, in fp32: an oracle for ours.

    /tmp/trl/bin/python bench/peers/trl_policy_loss.py batch.json

Runs where TRL is installed (`pip install trl==1.16.*`). `bench/reinforce.py parity` writes the batch: a
model folder, prompts and answers as token ids, advantages, log-probabilities before the update and of the
reference. Each case's gradient is written beside it as safetensors; its loss is printed, one object a line.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]

SHARED: dict[str, Any] = {
    "report_to": [], "use_cpu": True, "bf16": False, "fp16": False, "gradient_checkpointing": False,
    "disable_dropout": True,
}  # fmt: skip


def padded(rows: Sequence[Sequence[float]], left: bool = False, fill: float = 0) -> torch.Tensor:
    """Return rows of different lengths as one matrix."""
    longest = max(map(len, rows))
    filled = [
        [fill] * (longest - len(r)) + [*r] if left else [*r] + [fill] * (longest - len(r)) for r in rows
    ]
    return torch.tensor(filled)


def ones(rows: list[list[int]]) -> list[list[float]]:
    """Return 1 for each token."""
    return [[1] * len(row) for row in rows]


def grpo(model: Any, tokenizer: Any, batch: Any, case: Any) -> torch.Tensor:
    """Return GRPOTrainer's loss of the batch."""
    settings = GRPOConfig(
        tempfile.mkdtemp(),
        per_device_train_batch_size=len(batch["answers"]),
        num_generations=batch["group"],
        max_completion_length=batch["max_tokens"],
        temperature=batch["temperature"],
        loss_type=case["loss"],
        epsilon=case["low"],
        epsilon_high=case["high"],
        beta=case["kl"],
        use_bias_correction_kl=False,  # a correction of DeepSeek-V3.2 that GRPO's paper does not have
        mask_truncated_completions=True,
        **{k: v for k, v in SHARED.items() if k != "disable_dropout"},
    )
    trainer = GRPOTrainer(
        model, lambda completions, **_: [0.0] * len(completions), settings,
        Dataset.from_list([{"prompt": "x"}] * len(batch["answers"])), processing_class=tokenizer,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    counted = torch.tensor(batch["counts"]).unsqueeze(1)
    mask = padded(ones(batch["answers"])).long() * counted
    inputs = {
        "prompt_ids": padded(batch["prompts"], left=True, fill=batch["end"]).long(),
        "prompt_mask": padded(ones(batch["prompts"]), left=True).long(),
        "completion_ids": padded(batch["answers"], fill=batch["end"]).long(),
        "completion_mask": mask,
        "advantages": torch.tensor(case["advantages"]),
        "num_items_in_batch": mask.sum(),
    }
    if case["old"] is not None:
        inputs["old_per_token_logps"] = padded(case["old"])
        inputs["ref_per_token_logps"] = padded(case["reference"])
    loss: torch.Tensor = trainer._compute_loss(trainer.model, inputs)
    return loss


def dpo(model: Any, tokenizer: Any, batch: Any, case: Any) -> torch.Tensor:
    """Return DPOTrainer's loss of the pairs (0, 1), (2, 3) ... of the batch, chosen first."""
    pairs = [{"prompt": "x", "chosen": "y", "rejected": "z"}] * (len(batch["answers"]) // 2)
    settings = DPOConfig(
        tempfile.mkdtemp(), beta=case["beta"], per_device_train_batch_size=len(pairs),
        precompute_ref_log_probs=True, **SHARED,
    )  # fmt: skip
    trainer = DPOTrainer(
        model, args=settings, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer
    )
    trainer.model.train()
    order = [*range(0, 2 * len(pairs), 2), *range(1, 2 * len(pairs), 2)]
    whole = [batch["prompts"][i] + batch["answers"][i] for i in order]
    masks = [[0] * len(batch["prompts"][i]) + [1] * len(batch["answers"][i]) for i in order]
    inputs = {
        "input_ids": padded(whole, fill=batch["end"]).long(),
        "attention_mask": padded(ones(whole)).long(),
        "completion_mask": padded(masks).long(),
        "ref_chosen_logps": torch.tensor(case["reference"][0::2]),
        "ref_rejected_logps": torch.tensor(case["reference"][1::2]),
    }
    loss: torch.Tensor = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    return loss


def main() -> None:
    path = Path(sys.argv[1])
    batch = json.loads(path.read_text())
    for case in batch["cases"]:
        model = AutoModelForCausalLM.from_pretrained(batch["model"], dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(batch["model"])
        loss = (dpo if case["loss"] == "dpo" else grpo)(model, tokenizer, batch, case)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        save_file(gradients, path.with_name(f"{case['name']}.safetensors"))
        print(json.dumps({"name": case["name"], "loss": float(loss.detach())}), flush=True)


if __name__ == "__main__":
    main()
