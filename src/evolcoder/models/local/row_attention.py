"""Attention on a CPU by kernels compiled where they run: of many rows' newest tokens, of a prompt in bf16.

torch's kernel computes every row up to the longest one's end and copies much of it: it takes 3 times as long
as the one for many rows, which reads each row's own keys and values once, and 5 times as long as the one for
a prompt. Where there is no C compiler, and for what the kernels do not know (other heads, formats, soft caps,
sinks), torch's is used.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch

from evolcoder.models.local.bf16_kernels import PANEL, bf16_kernels
from evolcoder.models.local.compiled import compiled

ROW_ATTENTION = "evolcoder_rows"
"""The name by which transformers knows it."""
_SOURCE = Path(__file__).with_name("row_attention.c")
_LANES, _MOST_WIDTH, _MOST_GROUP = 16, 256, 16
_UNKNOWN = ("softcap", "s_aux", "position_bias", "cache")
"""Arguments of an attention that the kernel does not compute."""


def use_row_attention(model: Any) -> bool:
    """Have a model on the CPU that attends by torch's kernel use this one where it can; return whether."""
    own = model.config._attn_implementation
    if model.device.type != "cpu" or own != "sdpa" or not model._supports_attention_backend:
        return False
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ROW_ATTENTION, row_attention)
    AttentionMaskInterface.register(ROW_ATTENTION, sdpa_mask)
    model.set_attn_implementation(ROW_ATTENTION)
    return True


def row_attention(
    module: torch.nn.Module,
    query_NHTD: torch.Tensor,
    key_NKCD: torch.Tensor,
    value_NKCD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **further: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' `sdpa` does; return ([N, T, H, D], no weights).

    N rows, H heads, K key heads, T new tokens, C columns, D width of a head.
    """
    out_NTHD = None
    learns = torch.is_grad_enabled() and query_NHTD.requires_grad
    known = not dropout and not learns and all(further.get(name) is None for name in _UNKNOWN)
    if known:
        scale = query_NHTD.shape[3] ** -0.5 if scaling is None else float(scaling)
        if query_NHTD.shape[2] == 1:
            out_NTHD = _of_rows(query_NHTD, key_NKCD, value_NKCD, attention_mask, scale)
        elif further.get("is_causal") in (None, True) and getattr(module, "is_causal", True):
            out_NTHD = _of_prompt(query_NHTD, key_NKCD, value_NKCD, attention_mask, scale)
    if out_NTHD is not None:
        return out_NTHD, None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    out: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query_NHTD, key_NKCD, value_NKCD, attention_mask, dropout, scaling, **further
    )
    return out


def _of_rows(
    query_NHTD: torch.Tensor,
    key_NKCD: torch.Tensor,
    value_NKCD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scale: float,
) -> torch.Tensor | None:
    """Attend with one new token a row; None where the kernel does not know how."""
    n, heads, _, width = query_NHTD.shape
    if not _fit(query_NHTD, key_NKCD, value_NKCD) or query_NHTD.dtype not in (torch.float32, torch.bfloat16):
        return None
    if attention_mask is not None:
        line = attention_mask.dtype == query_NHTD.dtype and attention_mask.stride(-1) == 1
        if not line or attention_mask.shape != (n, 1, 1, key_NKCD.shape[2]):
            return None
    kernel = kernel_of_rows(heads // key_NKCD.shape[1], width, query_NHTD.dtype == torch.bfloat16)
    if kernel is None:
        return None
    out_N1HD = query_NHTD.new_empty((n, 1, heads, width))
    mask, mask_stride = None, 0
    if attention_mask is not None:
        mask, mask_stride = attention_mask.data_ptr(), attention_mask.stride(0)
    short_of_memory = kernel(
        *_told(query_NHTD, 0),
        *_told(key_NKCD, 0),
        *_told(value_NKCD, 0),
        mask,
        mask_stride,
        out_N1HD.data_ptr(),
        n,
        key_NKCD.shape[1],
        (ctypes.c_int64 * n)(*[key_NKCD.shape[2]] * n),
        scale,
    )
    if short_of_memory:
        raise MemoryError(f"attention over {key_NKCD.shape[2]} tokens")
    return out_N1HD


def _told(x_NHTD: torch.Tensor, first: int) -> tuple[int, ctypes.Array[ctypes.c_int64]]:
    """Return where a tensor lies, and its strides from dimension `first` to that of tokens."""
    strides = x_NHTD.stride()[first:3]
    return x_NHTD.data_ptr(), (ctypes.c_int64 * len(strides))(*strides)


def _of_prompt(
    query_NHTD: torch.Tensor,
    key_NKCD: torch.Tensor,
    value_NKCD: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> torch.Tensor | None:
    """Attend with several new tokens of one row, in bf16; None where the kernel does not know how."""
    kernels = bf16_kernels() if query_NHTD.dtype == torch.bfloat16 else None
    n, heads, tokens, width = query_NHTD.shape
    columns = key_NKCD.shape[2]
    if kernels is None or n != 1 or width % PANEL or not _fit(query_NHTD, key_NKCD, value_NKCD):
        return None
    if mask is None and columns != tokens:  # torch's takes the first tokens for the new ones then
        return None
    if mask is not None and (
        mask.dtype != torch.bool or mask.shape != (1, 1, tokens, columns) or mask.stride(3) != 1
    ):
        return None
    out_NTHD = query_NHTD.new_empty((1, tokens, heads, width))
    short_of_memory = kernels.prompt_attention(
        *_told(query_NHTD, 1),
        *_told(key_NKCD, 1),
        *_told(value_NKCD, 1),
        None if mask is None else mask.data_ptr(),
        0 if mask is None else mask.stride(2),
        out_NTHD.data_ptr(),
        tokens,
        columns,
        heads,
        key_NKCD.shape[1],
        width,
        scale,
        torch.get_num_threads(),
    )
    if short_of_memory:
        raise MemoryError(f"attention over {columns} tokens")
    return out_NTHD


def _fit(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether these are on the CPU, of one format, dense in each head, and share heads evenly."""
    dense = all(
        x.stride(-1) == 1 and x.dtype == query.dtype and x.device.type == "cpu" for x in (query, key, value)
    )
    fits = key.shape == value.shape and key.shape[0] == query.shape[0] and key.shape[3] == query.shape[3]
    return dense and fits and query.shape[1] % key.shape[1] == 0


@functools.lru_cache(maxsize=64)
def kernel_of_rows(group: int, width: int, bf16: bool) -> Any:
    """Return the kernel for so many heads that share keys, and their width; None where there is none."""
    if group > _MOST_GROUP or width > _MOST_WIDTH or width % _LANES:
        return None
    library = compiled(_SOURCE, (f"-DGROUP={group}", f"-DWIDTH={width}", *(("-DBF16",) if bf16 else ())))
    if library is None:
        return None
    kernel = library.row_attention
    strides = ctypes.POINTER(ctypes.c_int64)
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    tensors: list[Any] = [pointer, strides, pointer, strides, pointer, strides, pointer, whole]
    kernel.argtypes = [*tensors, pointer, whole, whole, ctypes.POINTER(whole), ctypes.c_float]
    kernel.restype = ctypes.c_int
    return kernel
