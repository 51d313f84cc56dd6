"""How a model is fine-tuned. Nothing heavy is imported here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from evolcoder.row_forms import checked_columns

PromptStyle = Literal["wizardcoder", "wizardlm-7b", "wizardlm-13b", "chat"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
NAME_OF_AUTO = "bf16"
"""What `dtype: auto` is called where settings name a training: the default before it, so that a training
begun then is continued, and one that moves to another machine is not done again."""
_LARGEST_SEED = (1 << 32) - 1
"""Every step draws from a seed of its own, which is a billion times this one and must fit 64 bits."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Fine-tuning; the defaults are the published recipe (WizardCoder 4.2 and its repository), packed."""

    epochs: float = 3.0
    """Passes over the data (the repository's setting; the paper trains 200 steps instead)."""
    max_steps: int | None = None
    """Train exactly this many steps, whatever `epochs` says."""
    batch_size: int = 512
    """Sequences per optimizer step, over all devices."""
    batch_tokens: int | None = None
    """Tokens per optimizer step, over all devices; replaces `batch_size` where given."""
    max_length: int = 2048
    """Most tokens of one sequence, prompt and response together; longer responses are cut and counted."""
    pack_length: int | None = None
    """Tokens that go through the model at once; `max_length` where absent, and never less than it."""
    packing: bool = True
    """Several sequences in one row, attention kept inside each; else, and where the model's attention cannot
    be kept apart, padded rows grouped by length."""
    learning_rate: float = 2e-5
    """Highest learning rate, reached after the warm-up."""
    warmup_steps: int = 30
    """Steps of linear warm-up; never more than half of all steps."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """What the learning rate does after the warm-up."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 never does."""
    dtype: Precision = "auto"
    """Number format of the computation; master weights and optimizer are fp32. "auto": bf16 on a GPU or a CPU
    that multiplies it, else fp32. fp16 scales the loss."""
    dropout: bool = True
    """Dropout as the base's configuration says, as the published run had it; false: none. PyTorch's own
    variable-length kernel knows none, so StarCoder's costs time on a GPU without flash-attn."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory for about a tenth to a third more time."""
    lora: int | None = None
    """Rank of LoRA adapters on every linear layer, merged into the weights at the end; full where absent."""
    lora_alpha: int | None = None
    """Scale of the adapters; twice the rank where absent."""
    layers: int | None = None
    """Train only the last N decoder layers and the final norm, the rest frozen; all where absent."""
    quantize: Literal["none", "4bit"] = "none"
    """"4bit": QLoRA, the frozen base in NF4; needs `lora` and bitsandbytes."""
    deepspeed: str | None = None
    """A DeepSpeed configuration file (JSON): several devices train by it instead of by FSDP2."""
    prompt_style: PromptStyle = "wizardcoder"
    """The published prompts (WizardCoder's; WizardLM's free form of 7B, its chat of 13B and later), or
    "chat": the model's own chat template."""
    end_token: str | None = None
    """The token that ends a response; found where absent (the chat template's, or the tokenizer's own)."""
    special_tokens: Literal["existing", "wizardcoder"] = "existing"
    """"existing": pad with a token the model has; "wizardcoder": the script's new [PAD], mean embedding."""
    save_every_steps: int = 50
    """Steps between checkpoints that training can resume from; 0 writes none."""
    keep: int = 2
    """Checkpoints kept."""
    log_every_steps: int = 2
    """Steps between log lines in the trackers; `training.json` has every step."""
    tracking: tuple[str, ...] = ("tensorboard",)
    """Where curves go: "tensorboard", "wandb", "trackio"."""
    eval_rows: int = 0
    """Rows held out of training to measure the loss on: whole families of a seed and what came of it."""
    eval_every_steps: int = 50
    """Steps between measurements of the held-out loss; it is also measured before and after training."""
    seed: int = 0
    """Order of the data and every other random choice."""

    def __post_init__(self) -> None:
        for name in (
            *("epochs", "batch_size", "batch_tokens", "max_length", "max_steps", "learning_rate", "lora"),
            *("lora_alpha", "layers", "keep", "log_every_steps", "eval_every_steps"),
        ):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0, found {value}")
        for name in ("warmup_steps", "save_every_steps", "max_grad_norm", "weight_decay", "eval_rows"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be a number from 0 on, found {value}")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ValueError(f"seed must be from 0 to {_LARGEST_SEED}, found {self.seed}")
        if self.lora_alpha is not None and self.lora is None:
            raise ValueError("lora_alpha without lora scales nothing; give lora a rank, e.g. 16")
        if self.pack_length is not None and self.pack_length < self.max_length:
            raise ValueError(
                f"pack_length must be at least max_length ({self.max_length}), found {self.pack_length}"
            )
        if self.quantize != "none" and self.lora is None:
            raise ValueError("quantize: 4bit trains adapters only; give lora a rank, e.g. 16")
        if self.quantize != "none" and self.deepspeed is not None:
            raise ValueError("quantize and deepspeed: one of the two is expected")
        if self.lora is not None and self.layers is not None:
            raise ValueError("lora and layers: one of the two is expected")
        unknown = set(self.tracking) - {"tensorboard", "wandb", "trackio"}
        if unknown:
            raise ValueError(
                f"tracking: expected tensorboard, wandb or trackio, found {', '.join(sorted(unknown))}"
            )


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What one fine-tuning is made of: the sections of a training recipe."""

    base: str
    """The model that is fine-tuned."""
    data: tuple[str, ...] = ()
    """Files of rows, or names of data sets."""
    train: TrainSettings = field(default_factory=TrainSettings)
    """How it is fine-tuned."""
    name: str = ""
    architecture: dict[str, Any] = field(default_factory=dict)
    """The base model's Hugging Face configuration, so that it can be planned without a download."""
    source: str = ""
    """Where that is from."""
    eval_data: tuple[str, ...] = ()
    """Rows that the held-out loss is measured on, beside those that `eval_rows` takes out of the data."""
    columns: dict[str, str] = field(default_factory=dict)
    """The data's names of columns, by ours."""

    def __post_init__(self) -> None:
        checked_columns(self.columns)
