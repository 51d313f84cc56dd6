"""The kernels of avx512_bf16.c: which processors have them, and how they are called.

A processor with AMX is left to oneDNN, whose products use that.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from evolcoder.models.local.compiled import compiled, processor

PANEL = 32
"""Outputs of a layer that are laid out together."""
_SOURCE = Path(__file__).with_name("avx512_bf16.c")
_POINTER, _WHOLE, _THREADS = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


class LinearData(ctypes.Structure):
    """A laid out linear layer, as the kernels read it."""

    _fields_ = (("panels", _POINTER), ("bias", _POINTER), ("outputs", _WHOLE), ("inputs", _WHOLE))


class LayerData(ctypes.Structure):
    """A llama's layer, as the kernels read it."""

    _fields_ = (
        *((name, LinearData) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        ("norm_of_attention", _POINTER),
        ("norm_of_mlp", _POINTER),
        ("eps_of_attention", ctypes.c_float),
        ("eps_of_mlp", ctypes.c_float),
        ("width", _WHOLE),
    )


@functools.lru_cache(maxsize=1)
def bf16_kernels() -> Any:
    """Return the library; None where the processor or the compiler does not do."""
    flags = processor().split()
    if "avx512_bf16" not in flags or "amx_bf16" in flags:
        return None
    library = compiled(_SOURCE, ("-fopenmp",))
    if library is None:
        return None
    linear, layer, strides = (ctypes.POINTER(x) for x in (LinearData, LayerData, _WHOLE))
    library.linear.argtypes = [linear, _POINTER, _POINTER, _WHOLE, _THREADS]
    library.linear.restype = None
    begin: list[Any] = [layer, _WHOLE, *[_POINTER] * 5, strides, strides, *[_POINTER] * 2, _WHOLE, _POINTER]
    library.layers.argtypes = [*begin, _WHOLE, _WHOLE, ctypes.c_float, _THREADS]
    tensors: list[Any] = [_POINTER, strides, _POINTER, strides, _POINTER, strides, _POINTER, _WHOLE, _POINTER]
    library.prompt_attention.argtypes = [*tensors, *[_WHOLE] * 5, ctypes.c_float, _THREADS]
    return library


def laid_out(weight_OI: torch.Tensor) -> torch.Tensor:
    """Return a weight in the layout that the kernels read, of the same shape."""
    outputs, inputs = weight_OI.shape
    panels = weight_OI.view(outputs // PANEL, PANEL, inputs // 2, 2).transpose(1, 2)
    return panels.reshape(outputs, inputs)


def as_it_was(panels_OI: torch.Tensor) -> torch.Tensor:
    """Return the weight that was laid out."""
    outputs, inputs = panels_OI.shape
    return panels_OI.view(outputs // PANEL, inputs // 2, PANEL, 2).transpose(1, 2).reshape(outputs, inputs)


def can_be_laid_out(layer: nn.Linear) -> bool:
    """Return whether the kernels know a layer's product."""
    return (
        layer.weight.dtype == torch.bfloat16
        and layer.out_features % PANEL == 0
        and layer.in_features % 2 == 0
        and (layer.bias is None or layer.bias.dtype == torch.bfloat16)
        and bf16_kernels() is not None
    )


def linear_data(layer: nn.Linear) -> LinearData:
    """Return a laid out layer as the kernels read it; its tensors must outlive this."""
    bias = None if layer.bias is None else layer.bias.data_ptr()
    return LinearData(layer.weight.data_ptr(), bias, layer.out_features, layer.in_features)


def linear_product(layer: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the forward pass of a layer whose weight is laid out."""
    data, weight, bias = linear_data(layer), layer.weight, layer.bias
    kernel, by, outputs = bf16_kernels().linear, ctypes.byref(data), layer.out_features

    def product(x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.bfloat16 or x.device.type != "cpu" or x.shape[-1] != data.inputs:
            return functional.linear(x, as_it_was(weight), bias)  # which says what is wrong
        x = x.contiguous()
        out = x.new_empty((*x.shape[:-1], outputs))
        kernel(by, x.data_ptr(), out.data_ptr(), x.numel() // data.inputs, torch.get_num_threads())
        return out

    return product
