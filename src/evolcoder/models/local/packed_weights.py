"""Weights of linear layers in the layout that products on a CPU read, made once.

In bf16 oneDNN lays a weight out anew for every product: with one row that is a third of its time, with 16
rows a fifth, with 150 rows a twentieth. The results are the same to the bit. In fp32 torch's products are
MKL's, as fast but for very wide layers: with a head of 49,152 tokens 64 rows take 1.5 times as long (AVX2).
With AVX512-BF16 the kernels of this package take two thirds of oneDNN's time for 16 rows and the same for 64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from evolcoder.heap import mapped
from evolcoder.models.local.bf16_kernels import as_it_was, can_be_laid_out, laid_out, linear_product

_ROWS = 64
"""Rows that oneDNN's layout is chosen for; it serves any number."""
_WIDE = 16384
"""Outputs from which on a layer in fp32 is laid out too."""


def pack_linear_layers(model: nn.Module, by_onednn_alone: bool = False) -> Callable[[], None]:
    """Lay out every linear layer of a model on the CPU for inference; it cannot be trained or saved after.

    Layers in fp16, those in fp32 that are not wide, those in bf16 on a CPU that oneDNN has no such layout
    for (AVX2 alone), and all of a torch without oneDNN stay as they are. Return what undoes it.
    """
    before: list[tuple[nn.Linear, Callable[[torch.Tensor], torch.Tensor]]] = []
    linear = [module for module in model.modules() if type(module) is nn.Linear]
    linear = [layer for layer in linear if layer.weight.device.type == "cpu"]
    own = [] if by_onednn_alone else [layer for layer in linear if can_be_laid_out(layer)]
    if own:
        _lay_out(own)
    for layer in linear:
        if layer in own:
            vars(layer)["forward"] = linear_product(layer)  # in the place of the class's own
            before.append((layer, as_it_was))
        elif _onednn_gains(layer):
            _replace(layer, torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS))
            vars(layer)["forward"] = _onednn_product(layer)
            before.append((layer, torch.Tensor.to_dense))

    def undo() -> None:
        for layer, unpacked in before:
            del vars(layer)["forward"]
            _replace(layer, unpacked(layer.weight.detach()))

    return undo


def _lay_out(layers: Sequence[nn.Linear]) -> None:
    """Lay out the weights of layers, one after another in huge pages: a step reads each of them once."""
    memory = mapped(sum(layer.weight.numel() for layer in layers), torch.bfloat16, huge=True)
    at = 0
    for layer in layers:
        place_OI = memory[at : at + layer.weight.numel()].view(layer.weight.shape)
        at += layer.weight.numel()
        _replace(layer, place_OI.copy_(laid_out(layer.weight.detach())))


def _replace(layer: nn.Linear, weight: torch.Tensor) -> None:
    # Assigned to this layer alone: an embedding that shares the weight keeps its own.
    layer.weight = nn.Parameter(weight, requires_grad=False)


def _onednn_gains(layer: nn.Linear) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if layer.weight.dtype == torch.float32:
        return layer.out_features >= _WIDE
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return layer.weight.dtype == torch.bfloat16 and supported


def _onednn_product(layer: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the forward pass of a layer that oneDNN laid out."""
    weight, bias = layer.weight, layer.bias

    def product(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out

    return product
