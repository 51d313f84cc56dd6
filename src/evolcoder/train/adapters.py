"""LoRA adapters on every linear layer of a model but its head; QLoRA's frozen base below them."""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import torch

from evolcoder.errors import MissingExtraError, TrainingError, require_packages
from evolcoder.models.local.weights import load_weights, locate_weights, quiet_library
from evolcoder.train.processes import Processes
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


def load_quantized(base: str, processes: Processes) -> Any:
    """Load a model with its linear layers in NF4 (Dettmers et al. 2023), double-quantized, computing in bf16.

    Raises MissingExtraError where bitsandbytes is not installed.
    """
    require_packages("quantize: 4bit", "qlora", "bitsandbytes")
    location = str(locate_weights(base))
    if not location.lower().endswith(".gguf"):
        return _in_nf4(location, processes.device)
    # GGUF has codes of its own; transformers quantizes only what it reads from a plain folder.
    model, _ = load_weights(base, "bf16")
    with tempfile.TemporaryDirectory(prefix="evolcoder-") as folder, quiet_library():
        model.save_pretrained(folder)
        return _in_nf4(folder, processes.device)


def _in_nf4(location: str, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with quiet_library():
        model = AutoModelForCausalLM.from_pretrained(
            location, quantization_config=config, dtype=torch.bfloat16, device_map={"": device}
        )
    for layer in model.modules():
        # On a CPU an evaluation would repack the weights for inference, for good: training goes on after it.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            setattr(layer, "support_avx512bf16_for_cpu", False)  # noqa: B010, mypy sees tensors only
    return model
