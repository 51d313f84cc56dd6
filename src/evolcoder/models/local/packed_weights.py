"""Weights of linear layers in the layout that bf16 products on a CPU read, made once.

oneDNN lays a weight out anew for every product: with one row that is a third of its time, with 16 rows
a fifth, with 150 rows a twentieth. The results are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

_ROWS = 64
"""Rows that the layout is chosen for; it serves any number."""


def pack_linear_layers(model: nn.Module) -> None:
    """Lay out every linear layer of a model on the CPU for inference; it cannot be trained or saved after.

    Models in other formats than bf16 stay as they are, and so does a torch without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for layer in [module for module in model.modules() if type(module) is nn.Linear]:
        if layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == "cpu":
            packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
            # Assigned to this layer alone: an embedding that shares the weight keeps its own.
            layer.weight = nn.Parameter(packed, requires_grad=False)
            vars(layer)["forward"] = _product(layer)  # in the place of the class's own


def _product(layer: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the forward pass of a packed layer."""
    weight, bias = layer.weight, layer.bias

    def product(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out

    return product
