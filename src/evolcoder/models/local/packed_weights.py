"""Weights of linear layers in the layout that oneDNN's products on a CPU read, made once.

In bf16 oneDNN lays a weight out anew for every product: with one row that is a third of its time, with 16
rows a fifth, with 150 rows a twentieth. The results are the same to the bit. In fp32 torch's products are
MKL's, as fast but for very wide layers: with a head of 49,152 tokens 64 rows take 1.5 times as long (AVX2).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

_ROWS = 64
"""Rows that the layout is chosen for; it serves any number."""
_WIDE = 16384
"""Outputs from which on a layer in fp32 is laid out too."""


def pack_linear_layers(model: nn.Module) -> None:
    """Lay out every linear layer of a model on the CPU for inference; it cannot be trained or saved after.

    Layers in fp16, those in fp32 that are not wide, those in bf16 on a CPU that oneDNN has no such layout
    for (AVX2 alone), and all of a torch without oneDNN stay as they are.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for layer in [module for module in model.modules() if type(module) is nn.Linear]:
        if layer.weight.device.type == "cpu" and _gains(layer):
            packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
            # Assigned to this layer alone: an embedding that shares the weight keeps its own.
            layer.weight = nn.Parameter(packed, requires_grad=False)
            vars(layer)["forward"] = _product(layer)  # in the place of the class's own


def _gains(layer: nn.Linear) -> bool:
    if layer.weight.dtype == torch.float32:
        return layer.out_features >= _WIDE
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return layer.weight.dtype == torch.bfloat16 and supported


def _product(layer: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the forward pass of a packed layer."""
    weight, bias = layer.weight, layer.bias

    def product(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out

    return product
