"""What can be known to go wrong before any weight is loaded: said by the plan, and checked by a training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evolcoder.errors import TrainingError
from evolcoder.models.local.attention_reach import length_scaling
from evolcoder.models.local.weights import load_skeleton
from evolcoder.train.adapters import add_adapters
from evolcoder.train.packing import plan_steps
from evolcoder.train.settings import TrainSettings
from evolcoder.train.tokenization import TokenizedData


def check_before_loading(
    config: Any, tokenizer: Any, data: TokenizedData, settings: TrainSettings
) -> list[str]:
    """Return what a user should know of this training, a line each.

    Raises TrainingError where it could not run: rows longer than the model has positions, tokens that have no
    embedding, no step to take; ModelError where the configuration is of no causal language model.
    """
    check_architecture(config)
    skeleton = load_skeleton(config)
    check_parts(skeleton, settings)
    if settings.lora is not None:
        add_adapters(skeleton, replace(settings, quantize="none"))
    text = config.get_text_config(decoder=True)
    notes = []
    longest, positions = int(data.lengths.max()), getattr(text, "max_position_embeddings", None)
    if positions and longest > positions:
        if getattr(text, "rope_parameters", None) is None:
            raise TrainingError(
                f"the longest row has {longest:,} tokens, {config.model_type} has {positions:,} positions: "
                f"max_length: {positions} cuts it"
            )
        if (scaled := length_scaling(config)) is not None and scaled[0] == "dynamic":
            raise TrainingError(
                f"the longest row has {longest:,} tokens; beyond {positions:,} positions follow the longest "
                f"row met before (dynamic scaling): max_length: {positions} cuts it"
            )
        notes.append(
            f"the longest row has {longest:,} tokens, the model was trained for {positions:,}; it runs "
            f"at positions that the model has not met (max_length: {positions} cuts it)"
        )
    n_embedded = int(text.vocab_size)
    if settings.special_tokens == "wizardcoder":
        n_embedded = max(n_embedded, len(tokenizer))  # the rule adds the rows that are missing
    if (largest := int(data.tokens.max())) >= n_embedded:
        name = tokenizer.convert_ids_to_tokens(largest)
        raise TrainingError(
            f"the data holds the token {name!r} ({largest}), the model has embeddings for {n_embedded:,}: "
            "the tokenizer is of another model, or tokens were added to it alone (special_tokens: wizardcoder"
            " gives these the mean embedding)"
        )
    if (n_steps := len(plan_steps(data.lengths, settings))) == 0:
        raise TrainingError(
            f"no step to take: epochs {settings.epochs:g} of {len(data)} rows is less than one row; "
            f"at least epochs {1 / len(data):.2g} is expected"
        )
    warmup = shortened_warmup(settings, n_steps)
    if warmup < settings.warmup_steps:
        notes.append(
            f"warm-up: {warmup} of {n_steps} steps; warmup_steps {settings.warmup_steps} is more than half"
        )
    return notes


_NOT_TRAINED = {
    "reformer": "its attention hashes at random, so that no proof holds, and its reversible layers give "
    "gradients in training mode alone",
}
"""Architectures that are not trained, and why."""


def check_architecture(config: Any) -> None:
    """Raise TrainingError for an architecture that cannot be trained right here."""
    if (why := _NOT_TRAINED.get(config.model_type)) is not None:
        raise TrainingError(f"{config.model_type} is not trained: {why}")
    quantized = getattr(config, "quantization_config", None)
    if quantized is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized.quant_method
        if method != "gguf":  # which loading dequantizes
            raise TrainingError(
                f"the base's weights are quantized ({getattr(method, 'value', method)}), which cannot be "
                "trained; its original in bf16 is expected (lora with quantize: 4bit quantizes that itself)"
            )


def check_parts(model: Any, settings: TrainSettings) -> None:
    """Raise TrainingError where this class of model has not what a training needs; numbers are not read."""
    name = type(model).__name__
    if model.get_output_embeddings() is None:
        raise TrainingError(f"{name}: a causal model with a head is expected")
    # Its layers know; GPT-NeoX's configuration says false of models that are decoders all the same.
    if any(getattr(module, "is_decoder", None) is False for module in model.modules()):
        raise TrainingError(
            f"{name}: is_decoder is false in its configuration, so that each token sees those after it; "
            "a causal model is expected"
        )
    if settings.layers is not None and settings.layers > (found := len(decoder_layers(model))):
        raise TrainingError(f"layers: the model has {found} decoder layers, found {settings.layers}")


def decoder_layers(model: Any) -> list[Any]:
    """Return the decoder layers, from the embedding on."""
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def shortened_warmup(settings: TrainSettings, n_steps: int) -> int:
    """Return the steps of warm-up: those asked for, never more than half of all."""
    return min(settings.warmup_steps, n_steps // 2)
