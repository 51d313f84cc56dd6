"""What a training takes, before anything is rented or downloaded: memory by part, steps, tokens, days.

The model is built from its configuration alone on torch's meta device, which holds shapes and no numbers.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evolcoder.errors import MissingExtraError, ModelError
from evolcoder.train.recipes import Training, checked_config
from evolcoder.train.settings import TrainSettings

_PAPER_ROWS = 78_000
"""Rows after three rounds, the published best (WizardCoder 4.5)."""
_TOKENS_A_ROW = 384
"""Prompt and response of a row: a public run of the method has 117, 382 and 523 tokens a row in its seeds and
first two generations (SmolLM2's tokenizer), weighted here by the published counts of rounds 0 to 3."""
# Assumed, not measured: dense bf16 peak of an H100 or H200, and the part of it that packed training reaches.
_PEAK_FLOPS = 989e12
_UTILIZATION = 0.40
_RESERVE_BYTES = 2_000_000_000
"""Context, communication buffers and fragmentation of a device."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimate for one device and for the whole training."""

    name: str
    parameters: int
    trainable: int
    gpus: int
    gpu_bytes: int
    weights_bytes: int
    """Per device: fp32 masters (frozen: the computing format), sharded, and the layers gathered at once."""
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int
    """Per device: the chunk of logits that exists at a time, and the head's gradient."""
    reserve_bytes: int
    total_bytes: int
    fits: bool
    advice: str
    rows: int
    tokens: int
    steps: int
    days: float
    """At 40% of an H100's bf16 peak on each device; an assumption, not a measurement."""


def plan_training(
    training: Training,
    *,
    gpus: int,
    gpu_gb: float,
    rows: int | None = None,
    tokens_a_row: int = _TOKENS_A_ROW,
) -> Plan:
    """Estimate a training on `gpus` devices of `gpu_gb` (1e9 bytes) each.

    Raises ModelError where the architecture is neither in the recipe nor in a local folder.
    """
    model = _on_meta(training)
    plan = _estimate(model, training.name, training.settings, gpus, gpu_gb, rows or _PAPER_ROWS, tokens_a_row)
    if plan.fits:
        return plan
    return replace(plan, advice=_advice(model, training, plan, gpu_gb, tokens_a_row))


def _on_meta(training: Training) -> Any:
    """Build the model without weights."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError("planning a training", "train") from error
    if training.architecture:
        config = checked_config(training.architecture)
    elif (Path(training.base) / "config.json").is_file():
        values = json.loads((Path(training.base) / "config.json").read_text(encoding="utf-8"))
        config = checked_config(values)
    else:
        raise ModelError(
            f"{training.base}: its architecture is not known here; a recipe of recipes/train/ "
            "or a model folder is expected with --plan"
        )
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]


def _estimate(
    model: Any, name: str, settings: TrainSettings, gpus: int, gpu_gb: float, rows: int, tokens_a_row: int
) -> Plan:
    config = model.config
    parameters = int(model.num_parameters())
    low = 4 if settings.dtype == "fp32" else 2
    width, n_layers = int(config.hidden_size), int(config.num_hidden_layers)
    layer_parameters = (parameters - 2 * config.vocab_size * width) // n_layers
    trainable = parameters
    if settings.lora:
        trainable = _adapter_parameters(model, settings.lora)
    elif settings.layers:
        trainable = layer_parameters * settings.layers
    frozen = parameters - trainable if settings.lora is None else parameters
    frozen_bytes = frozen * (0.55 if settings.quantize == "4bit" else low)
    head_bytes = config.vocab_size * width * low
    gathered = 0 if gpus == 1 else 2 * layer_parameters * low + 2 * head_bytes
    own_copy = trainable * low if gpus == 1 and low == 2 else 0
    weights = int((trainable * 4 + frozen_bytes) / gpus) + gathered + own_copy
    gradients = int(trainable * 4 / gpus) + (2 * layer_parameters * low if settings.lora is None else 0)
    optimizer = int(trainable * 8 / gpus)
    row = settings.pack_length or settings.max_length
    # One decoder layer keeps about 34 bytes a token and unit of width in 16-bit training with fused attention
    # (Korthikanti et al. 2022, without the attention scores); checkpointing keeps its 2-byte input instead.
    one_layer = 17 * low * row * width
    activations = (
        one_layer + n_layers * low * row * width if settings.gradient_checkpointing else one_layer * n_layers
    )
    logits = (1 << 25) * 8 + (config.vocab_size * width * 4 if settings.lora is None else 0)
    total = weights + gradients + optimizer + activations + logits + _RESERVE_BYTES
    epochs_tokens = int(rows * tokens_a_row * settings.epochs)
    if settings.max_steps:
        a_step = settings.batch_tokens or settings.batch_size * tokens_a_row
        tokens, steps = settings.max_steps * a_step, settings.max_steps
    elif settings.batch_tokens:
        tokens, steps = epochs_tokens, math.ceil(epochs_tokens / settings.batch_tokens)
    else:
        tokens, steps = epochs_tokens, math.ceil(rows / settings.batch_size) * math.ceil(settings.epochs)
    flops_a_token = 6 * parameters if settings.lora is None else 4 * parameters
    flops_a_token += 2 * parameters if settings.gradient_checkpointing else 0
    days = tokens * flops_a_token / (gpus * _PEAK_FLOPS * _UTILIZATION) / 86400
    return Plan(
        name=name,
        parameters=parameters,
        trainable=trainable,
        gpus=gpus,
        gpu_bytes=int(gpu_gb * 1e9),
        weights_bytes=weights,
        gradients_bytes=gradients,
        optimizer_bytes=optimizer,
        activations_bytes=activations,
        logits_bytes=logits,
        reserve_bytes=_RESERVE_BYTES,
        total_bytes=total,
        fits=total <= gpu_gb * 1e9,
        advice="",
        rows=rows,
        tokens=tokens,
        steps=steps,
        days=days,
    )


def _adapter_parameters(model: Any, rank: int) -> int:
    """Return what LoRA adds: rank times (in + out) of every linear layer but the head."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    shapes = [
        m.weight.shape for m in model.modules() if isinstance(m, (torch.nn.Linear, Conv1D)) and m is not head
    ]
    return int(sum(rank * (a + b) for a, b in shapes))


def _advice(model: Any, training: Training, plan: Plan, gpu_gb: float, tokens_a_row: int) -> str:
    """Say the least that makes it fit: checkpointing, more devices, or adapters."""

    def fits(settings: TrainSettings, gpus: int) -> bool:
        return _estimate(model, plan.name, settings, gpus, gpu_gb, plan.rows, tokens_a_row).fits

    settings = training.settings
    ways = []
    if not settings.gradient_checkpointing and fits(
        replace(settings, gradient_checkpointing=True), plan.gpus
    ):
        ways.append("gradient_checkpointing: true")
    saving = replace(settings, gradient_checkpointing=True)
    for gpus in (2, 4, 8, 16, 32, 64):
        if gpus > plan.gpus and fits(saving, gpus):
            ways.append(f"{gpus} GPUs of {gpu_gb:g} GB")
            break
    if settings.lora is None:
        if fits(replace(saving, lora=16, layers=None), plan.gpus):
            ways.append("lora: 16")
        elif fits(replace(saving, lora=16, layers=None, quantize="4bit"), plan.gpus):
            ways.append("lora: 16 with quantize: 4bit")
    return " or ".join(ways) or "larger GPUs"


def plan_text(plan: Plan) -> str:
    """Return the plan as the lines that a terminal shows."""
    parts = {
        key: value for key, value in asdict(plan).items() if key.endswith("_bytes") and key != "gpu_bytes"
    }
    verdict = "fits" if plan.fits else f"does not fit: {plan.advice}"
    lines = [
        f"{plan.name}: {plan.parameters / 1e9:.2f} B parameters, {plan.trainable / 1e9:.3f} B trained",
        f"memory of each of {plan.gpus} GPUs (GB):",
        *(f"  {key.removesuffix('_bytes'):<12} {value / 1e9:>8.1f}" for key, value in parts.items()),
        f"  {'has':<12} {plan.gpu_bytes / 1e9:>8.1f}   {verdict}",
        f"{plan.rows:,} rows: {plan.steps:,} steps, {plan.tokens / 1e6:,.1f} M tokens, "
        f"about {plan.days:.2f} days (at {_UTILIZATION:.0%} of 989 TFLOP/s a GPU, an assumption)",
    ]
    return "\n".join(lines)
