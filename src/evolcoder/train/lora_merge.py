"""LoRA adapters merged into the weights they adapt.

Done on gathered tensors instead of with peft's own method, which works on the model in place: that would need
the whole model on every device, and would round a 4-bit base a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_ADAPTER = "default"
"""The name that peft gives a model's only adapter."""


def split_adapters(
    model: Any, weights: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return (plain weights with adapters merged, the adapters' own weights), both on the CPU.

    `weights` is the whole state of `model`, whose linear layers carry adapters. A merged weight is
    W + scale * B @ A in fp32, W as the training saw it: of a 4-bit base, what its code stands for.
    """
    adapters = {name: tensor.cpu() for name, tensor in weights.items() if ".lora_" in name}
    plain = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in weights.items()
        if ".lora_" not in name and ".weight." not in name  # what follows .weight. is 4-bit bookkeeping
    }
    for name, layer in model.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        base = layer.get_base_layer()
        weight = _dequantized(base) if hasattr(base.weight, "quant_state") else plain[f"{name}.weight"]
        a = adapters[f"{name}.lora_A.{_ADAPTER}.weight"].float()
        b = adapters[f"{name}.lora_B.{_ADAPTER}.weight"].float()
        delta = layer.scaling[_ADAPTER] * (b @ a)
        plain[f"{name}.weight"] = weight.cpu().float() + (delta.T if layer.fan_in_fan_out else delta)
    return {name: tensor.cpu() for name, tensor in plain.items()}, adapters


def _dequantized(layer: Any) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit  # type: ignore[import-not-found]

    dense: torch.Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return dense
