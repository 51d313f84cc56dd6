"""QLoRA's base: the frozen weights in 4-bit NormalFloat (Dettmers et al. 2023), adapters on top.

Written against the libraries' interfaces; it needs a GPU and has not been run on one yet.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from evolcoder.errors import ModelError, TrainingError
from evolcoder.models.weights import load_tokenizer, locate_weights


def load_quantized(base: str) -> tuple[Any, Any]:
    """Load a model with its linear layers in NF4, double-quantized, computing in bf16; and its tokenizer.

    Raises TrainingError where the machine has no GPU or bitsandbytes is not installed.
    """
    if not torch.cuda.is_available():
        raise TrainingError("quantize: 4bit needs an NVIDIA GPU; on this machine use lora alone")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise TrainingError("quantize: 4bit needs bitsandbytes: pip install bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    location = str(locate_weights(base))
    if location.endswith(".gguf"):
        raise ModelError(f"{base}: a model folder or a hub name is expected with 4bit, found GGUF")
    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        location,
        quantization_config=config,
        dtype=torch.bfloat16,
        device_map={"": torch.cuda.current_device()},
    )
    return model, load_tokenizer(base)
