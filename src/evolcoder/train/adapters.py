"""LoRA adapters on every linear layer of a model but its head."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from evolcoder.errors import MissingExtraError, TrainingError
from evolcoder.train.settings import TrainSettings


def add_adapters(model: Any, settings: TrainSettings) -> Any:
    """Put LoRA adapters on every linear layer but the head, freeze the rest, and return the peft model.

    Raises TrainingError where they could not be merged again, MissingExtraError where peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    except ImportError as error:
        raise MissingExtraError("LoRA", "train") from error
    assert settings.lora is not None
    if settings.quantize == "4bit":
        model = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            model, use_gradient_checkpointing=False
        )
    config = LoraConfig(
        r=settings.lora,
        lora_alpha=settings.lora_alpha or 2 * settings.lora,
        lora_dropout=0.0,
        target_modules=linear_layers(model),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft still asks by the old name of transformers' property.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted = get_peft_model(model, config)
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A") and not hasattr(layer.get_base_layer(), "weight"):
            raise TrainingError(
                f"lora: {name} of {type(model).__name__} is a block of experts, whose adapters cannot be "
                "merged; train it without lora (layers: N trains the last layers only)"
            )
    return adapted


def linear_layers(model: Any) -> list[str]:
    """Return the names of all linear layers but the head.

    Named one by one: peft's own word for all of them also adapts fused experts, which are no layers and
    whose adapters cannot be merged here.
    """
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    kinds = (torch.nn.Linear, Conv1D)
    return [name for name, m in model.named_modules() if isinstance(m, kinds) and m is not head]
