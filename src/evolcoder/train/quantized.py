"""QLoRA's base: the frozen weights in 4-bit NormalFloat (Dettmers et al. 2023), adapters on top."""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from evolcoder.errors import require_packages
from evolcoder.models.local.weights import load_weights, locate_weights, quiet_library
from evolcoder.train.processes import Processes


def load_quantized(base: str, processes: Processes) -> Any:
    """Load a model with its linear layers in NF4, double-quantized, computing in bf16.

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
