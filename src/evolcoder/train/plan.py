"""The memory, steps, tokens and days of a training, before anything is rented or downloaded.

The model is built from its configuration alone on torch's meta device, which holds shapes and no numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from evolcoder.errors import ModelError, RecipeError
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.instructions import read_instructions
from evolcoder.models.local.weights import (
    check_weights,
    is_here,
    load_config,
    load_skeleton,
    load_tokenizer,
    locate_weights,
    refuse_hub_adapter,
)
from evolcoder.train.adapters import linear_layers
from evolcoder.train.before_loading import check_before_loading
from evolcoder.train.deepspeed_config import read_deepspeed_config
from evolcoder.train.sanity_checks import prove_supervision
from evolcoder.train.settings import TrainingJob, TrainSettings
from evolcoder.train.tokenization import add_wizardcoder_tokens, split_held_out, tokenize_cached

_PAPER_ROWS = 78_000
"""Rows after three rounds, the published best (WizardCoder 4.5)."""
_TOKENS_A_ROW = 384
"""Prompt and response of a row: a public run of the method has 117, 382 and 523 tokens a row in its seeds and
first two generations (SmolLM2's tokenizer), weighted here by the published counts of rounds 0 to 3."""
_CHARACTERS_A_TOKEN = 3.3
"""Of Code Alpaca's prompts and responses, by SmolLM2's and StarCoder's tokenizers (see bench/prepare.py)."""
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
    host_bytes: int
    """CPU memory that DeepSpeed's offloading takes, of all machines together."""
    fits: bool
    advice: str
    rows: int
    tokens: int
    steps: int
    days: float
    """At 40% of an H100's bf16 peak on each device; an assumption, not a measurement."""
    settings: dict[str, Any]
    """The hyperparameters, every default written out."""
    notes: tuple[str, ...] = ()
    """What a user should know before it starts."""


def plan_training(training: TrainingJob, *, gpus: int, gpu_gb: float, rows: int | None = None) -> Plan:
    """Estimate a training on `gpus` devices of `gpu_gb` (1e9 bytes) each.

    Rows and tokens are those of the training's data where it names any and `rows` is not given. Raises
    ModelError where the architecture is neither in the recipe nor on this machine, TrainingError or DataError
    for what would stop the training before its first step.
    """
    model = _on_meta(training)
    notes = [_rows_note(model, training.train)]
    tokens_a_row: float = _TOKENS_A_ROW
    if rows is None and training.data:
        rows, tokens_a_row, found = _counted(training)
        notes += found
    plan = _estimate(model, training.name, training.train, gpus, gpu_gb, rows or _PAPER_ROWS, tokens_a_row)
    plan = replace(plan, notes=tuple(notes))
    if plan.fits:
        return plan
    return replace(plan, advice=_advice(model, training, plan, gpu_gb, tokens_a_row))


def _on_meta(training: TrainingJob) -> Any:
    """Build the model without weights."""
    if training.architecture:
        return load_skeleton(checked_config(training.architecture))
    refuse_hub_adapter(locate_weights(training.base))
    if not is_here(training.base):
        raise ModelError(
            f"{training.base}: its architecture is not known here; a shipped recipe (evolcoder recipe list) "
            "or a model folder is expected with --plan"
        )
    return load_skeleton(load_config(training.base))


def checked_config(architecture: Mapping[str, Any]) -> Any:
    """Return an architecture's transformers configuration; raises RecipeError where it is none."""
    import transformers

    values = dict(architecture)
    kind = values.pop("model_type", None)
    try:
        return transformers.AutoConfig.for_model(kind, **values)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"architecture: {' '.join(str(error).split())[:200]}") from error


def _rows_note(model: Any, settings: TrainSettings) -> str:
    """Say how rows will go through the model, as far as its class tells; its weights decide."""
    name = type(model).__name__
    kinds = set(getattr(model.config.get_text_config(decoder=True), "layer_types", None) or ())
    mixing = sorted(kind for kind in kinds if kind not in ("full_attention", "sliding_attention"))
    if not settings.packing:
        return "rows: padded, as packing: false asks"
    if not model._supports_attention_backend:
        return f"rows: padded, for {name} takes no attention function that would keep packed rows apart"
    if mixing:
        return f"rows: padded where packed ones change each other ({name} has layers of {', '.join(mixing)})"
    return "rows: packed, once its weights have shown that packed rows do not change each other"


def _counted(training: TrainingJob) -> tuple[int, float, list[str]]:
    """Return the rows of the training's data that are trained on, their mean tokens, and what is to be said.

    Counted by the base's tokenizer where it is on this machine, else estimated from the characters.
    """
    rows = [row for source in training.data for row in read_instructions(source, training.columns)]
    settings = training.train
    if settings.eval_rows:
        rows, _ = split_held_out(rows, settings.eval_rows, settings.seed)
    n = len(rows)
    if is_here(training.base):
        config, tokenizer = load_config(training.base), load_tokenizer(training.base)
        if settings.special_tokens == "wizardcoder":
            add_wizardcoder_tokens(tokenizer, config.model_type)
        data = tokenize_cached(
            rows, tokenizer, settings.prompt_style, settings.max_length, settings.end_token
        )
        notes = [*prove_supervision(data), *check_before_loading(config, tokenizer, data, settings)]
        check_weights(locate_weights(training.base))
        return n, float(data.lengths.mean()), notes
    lengths = [
        (len(instruction_prompt(row.instruction, row.input)) + len(row.response)) / _CHARACTERS_A_TOKEN
        for row in rows
    ]
    return n, sum(min(length, settings.max_length) for length in lengths) / len(rows), []


def _estimate(
    model: Any, name: str, settings: TrainSettings, gpus: int, gpu_gb: float, rows: int, tokens_a_row: float
) -> Plan:
    config = model.config.get_text_config(decoder=True)
    parameters = int(model.num_parameters())
    # The head's matrix is the embedding's where the two are tied, and is counted once.
    matrices = 1 if config.tie_word_embeddings else 2
    low = 4 if settings.dtype == "fp32" else 2
    width, n_layers = int(config.hidden_size), int(config.num_hidden_layers)
    layer_parameters = (parameters - matrices * config.vocab_size * width) // n_layers
    trainable = parameters
    if settings.lora:
        trainable = _adapter_parameters(model, settings.lora)
    elif settings.layers:
        trainable = layer_parameters * settings.layers
    frozen = parameters - trainable if settings.lora is None else parameters
    frozen_bytes = frozen * (0.55 if settings.quantize == "4bit" else low)
    head_bytes = config.vocab_size * width * low
    gathered = 0 if gpus == 1 else 2 * layer_parameters * low + matrices * head_bytes
    own_copy = trainable * low if gpus == 1 and low == 2 else 0
    weights = int((trainable * 4 + frozen_bytes) / gpus) + gathered + own_copy
    gradients = int(trainable * 4 / gpus) + (2 * layer_parameters * low if settings.lora is None else 0)
    optimizer = int(trainable * 8 / gpus)
    host = 0
    if settings.deepspeed is not None:
        weights, gradients, optimizer, host = _under_deepspeed(
            settings, trainable, parameters, gathered, 2 * layer_parameters * low, gpus
        )
    row = settings.pack_length or settings.max_length
    # One decoder layer keeps about 34 bytes a token and unit of width in 16-bit training with fused attention
    # (Korthikanti et al. 2022, without the attention scores); checkpointing keeps its 2-byte input instead.
    one_layer = 17 * low * row * width
    activations = (
        one_layer + n_layers * low * row * width if settings.gradient_checkpointing else one_layer * n_layers
    )
    logits = (1 << 25) * 8 + (config.vocab_size * width * 4 if settings.lora is None else 0)
    memory = (weights, gradients, optimizer, activations, logits, _RESERVE_BYTES)
    total = sum(memory)
    epochs_tokens = int(rows * tokens_a_row * settings.epochs)
    if settings.max_steps is not None:
        a_step = settings.batch_tokens or settings.batch_size * tokens_a_row
        tokens, steps = int(settings.max_steps * a_step), settings.max_steps
    elif settings.batch_tokens:
        tokens, steps = epochs_tokens, math.ceil(epochs_tokens / settings.batch_tokens)
    else:
        whole, part = divmod(settings.epochs, 1)
        steps = int(whole) * math.ceil(rows / settings.batch_size)
        tokens, steps = epochs_tokens, steps + math.ceil(round(part * rows) / settings.batch_size)
    flops_a_token = 6 * parameters if settings.lora is None else 4 * parameters
    flops_a_token += 2 * parameters if settings.gradient_checkpointing else 0
    days = tokens * flops_a_token / (gpus * _PEAK_FLOPS * _UTILIZATION) / 86400
    model_and_machine = (name, parameters, trainable, gpus, int(gpu_gb * 1e9))
    amounts = (rows, tokens, steps, days, asdict(settings))
    return Plan(*model_and_machine, *memory, total, host, total <= gpu_gb * 1e9, "", *amounts)


def _under_deepspeed(
    settings: TrainSettings, trainable: int, parameters: int, gathered: int, in_flight: int, gpus: int
) -> tuple[int, int, int, int]:
    """Return the bytes of (weights, gradients, optimizer) a device and of CPU memory, as the file says.

    ZeRO-3 keeps weights in the computing format on the device and fp32 copies with the optimizer.
    """
    zero = read_deepspeed_config(str(settings.deepspeed)).get("zero_optimization") or {}
    low = 4 if settings.dtype == "fp32" else 2
    host = 0
    weights, gradients, optimizer = parameters * low / gpus, trainable * low / gpus, trainable * 12 / gpus
    if (zero.get("offload_optimizer") or {}).get("device", "none") != "none":
        host += trainable * 16  # fp32 copy, two moments, gradient
        gradients = optimizer = 0
    if (zero.get("offload_param") or {}).get("device", "none") != "none":
        host += parameters * low
        weights = 0
    return int(weights) + gathered, int(gradients) + in_flight, int(optimizer), host


def _adapter_parameters(model: Any, rank: int) -> int:
    """Return what LoRA adds: rank times (in + out) of every linear layer but the head."""
    layers = dict(model.named_modules())
    shapes = [layers[name].weight.shape for name in linear_layers(model)]
    return int(sum(rank * (a + b) for a, b in shapes))


def _advice(model: Any, training: TrainingJob, plan: Plan, gpu_gb: float, tokens_a_row: float) -> str:
    """Say the least that makes it fit: checkpointing, more devices, or adapters."""

    def fits(settings: TrainSettings, gpus: int) -> bool:
        return _estimate(model, plan.name, settings, gpus, gpu_gb, plan.rows, tokens_a_row).fits

    settings = training.train
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


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plan_text(plan: Plan) -> str:
    """Return the plan as the lines that a terminal shows."""
    parts = {
        key: value
        for key, value in asdict(plan).items()
        if key.endswith("_bytes") and key not in ("gpu_bytes", "host_bytes")
    }
    verdict = "fits" if plan.fits else f"does not fit: {plan.advice}"
    days = plan.days
    duration = f"{days:.1f} days" if days >= 1 else f"{24 * days:.1f} hours ({days:.2f} days)"
    lines = [
        f"{plan.name}: {plan.parameters / 1e9:.2f} B parameters, {plan.trainable / 1e9:.3f} B trained",
        f"memory of each of {plan.gpus} GPUs (GB):",
        *(f"  {key.removesuffix('_bytes'):<12} {value / 1e9:>8.1f}" for key, value in parts.items()),
        f"  {'has':<12} {plan.gpu_bytes / 1e9:>8.1f}   {verdict}",
        *([f"CPU memory, all machines: {plan.host_bytes / 1e9:.0f} GB"] if plan.host_bytes else []),
        f"{plan.rows:,} rows: {plan.steps:,} steps, {plan.tokens / 1e6:,.1f} M tokens, "
        f"about {duration} (at {_UTILIZATION:.0%} of 989 TFLOP/s a GPU, an assumption)",
        *plan.notes,
        "hyperparameters: " + ", ".join(f"{key} {_shown(value)}" for key, value in plan.settings.items()),
    ]
    return "\n".join(lines)
