"""Attention that stays inside each document of a packed row, for every Hugging Face causal model.

Registered under `DOCUMENT_ATTENTION`; the document boundaries travel as keyword arguments of the model's
forward. On a GPU one variable-length kernel does the whole row; on a CPU each document is one call, which is
faster there than a block-diagonal mask over the row.

Shapes: B batch (1), H heads, T tokens of the row, D width of a head.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch.nn import functional

DOCUMENT_ATTENTION = "evolcoder_documents"


def register_document_attention() -> str:
    """Make the attention known to transformers (again is harmless) and return its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(DOCUMENT_ATTENTION, document_attention)
    AttentionMaskInterface.register(DOCUMENT_ATTENTION, _no_mask)
    return DOCUMENT_ATTENTION


def document_attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BHTD: torch.Tensor,
    value_BHTD: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    document_lengths: tuple[int, ...],
    cu_seq_lens: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each of `document_lengths`; return ([B, T, H, D], no weights)."""
    if query_BHTD.is_cuda and dropout == 0.0 and query_BHTD.dtype != torch.float32:
        return _one_kernel(
            query_BHTD, key_BHTD, value_BHTD, cu_seq_lens, max(document_lengths), scaling, sliding_window
        ), None
    lengths = list(document_lengths)
    # The CPU kernel's backward pass takes 1.6 times as long in bf16 as in fp32, casts included.
    in_dtype = query_BHTD.dtype
    parts = [
        torch.split(x.float() if x.device.type == "cpu" else x, lengths, dim=2)
        for x in (query_BHTD, key_BHTD, value_BHTD)
    ]
    outputs = []
    for q, k, v in zip(*parts, strict=True):
        window = _window_mask(q, sliding_window)
        outputs.append(
            functional.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=window,
                dropout_p=dropout,
                is_causal=window is None,
                scale=scaling,
                enable_gqa=k.shape[1] != q.shape[1],
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).to(in_dtype), None


def _one_kernel(
    query_BHTD: torch.Tensor,
    key_BHTD: torch.Tensor,
    value_BHTD: torch.Tensor,
    cu_seq_lens: torch.Tensor,
    longest: int,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """The whole row in one call: flash-attn where installed, else PyTorch's own kernel (2.10 and later)."""
    q, k, v = (x[0].transpose(0, 1) for x in (query_BHTD, key_BHTD, value_BHTD))
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    try:
        flash_attn_varlen_func = importlib.import_module("flash_attn").flash_attn_varlen_func
    except ImportError:
        from torch.nn.attention.varlen import varlen_attn

        out_THD = varlen_attn(
            q,
            k,
            v,
            cu_seq_lens,
            cu_seq_lens,
            longest,
            longest,
            scale=scaling,
            window_size=window,
            enable_gqa=k.shape[1] != q.shape[1],
        )
    else:
        out_THD = flash_attn_varlen_func(
            q,
            k,
            v,
            cu_seq_lens,
            cu_seq_lens,
            longest,
            longest,
            softmax_scale=scaling,
            causal=True,
            window_size=window,
        )
    assert isinstance(out_THD, torch.Tensor)
    return out_THD.unsqueeze(0)


def _window_mask(query_BHTD: torch.Tensor, sliding_window: int | None) -> torch.Tensor | None:
    """Return the band mask of a model with a sliding window where the document is longer than it."""
    length = query_BHTD.shape[2]
    if sliding_window is None or length <= sliding_window:
        return None
    ones = torch.ones(length, length, dtype=torch.bool, device=query_BHTD.device)
    return ones.tril() & ~ones.tril(-sliding_window)


def _no_mask(*_: Any, **__: Any) -> None:
    """Tell transformers to build no mask: the boundaries say it all."""
