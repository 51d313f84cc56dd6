"""Attention that stays inside each document of a packed row, for every Hugging Face causal model.

Registered under `DOCUMENT_ATTENTION`; the document boundaries travel as keyword arguments of the model's
forward. On a GPU one variable-length kernel does the whole row; on a CPU, and where no such kernel is, each
document is one call, which is faster there than a block-diagonal mask over the row.

Shapes: B batch (1), H heads, T tokens of the row, D width of a head.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch.nn import functional

DOCUMENT_ATTENTION = "evolcoder_documents"


def register_document_attention() -> str:
    """Make the attention known to transformers (again is harmless) and return its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(DOCUMENT_ATTENTION, document_attention)
    AttentionMaskInterface.register(DOCUMENT_ATTENTION, lambda *_, **__: None)  # the boundaries say it all
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
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each of `document_lengths`; return ([B, T, H, D], no weights).

    `softcap` bounds the scores (Gemma 2); `s_aux` is a score a head that takes weight and gives nothing, the
    attention sink (gpt-oss).
    """
    plain = softcap is None and s_aux is None
    fast = plain and query_BHTD.is_cuda and query_BHTD.dtype != torch.float32
    kernel = _varlen_kernel(dropout) if fast else None
    if kernel is not None:
        q, k, v = (x[0].transpose(0, 1) for x in (query_BHTD, key_BHTD, value_BHTD))
        # Positions a token sees before itself, and none after it: causal, with the model's own window.
        window = (-1 if sliding_window is None else sliding_window - 1, 0)
        out_THD = kernel(q, k, v, cu_seq_lens, max(document_lengths), scaling, window)
        return out_THD.unsqueeze(0), None
    lengths = list(document_lengths)
    # The CPU kernel's backward pass takes 1.6 times as long in bf16 as in fp32, casts included.
    in_dtype = query_BHTD.dtype
    parts = [
        torch.split(x.float() if x.device.type == "cpu" else x, lengths, dim=2)
        for x in (query_BHTD, key_BHTD, value_BHTD)
    ]
    attend, grouped = functional.scaled_dot_product_attention, key_BHTD.shape[1] != query_BHTD.shape[1]
    outputs = []
    for q, k, v in zip(*parts, strict=True):
        band = _window_mask(q, sliding_window)
        if not plain:
            outputs.append(_written_out(q, k, v, band, scaling, dropout, softcap, s_aux))
            continue
        outputs.append(attend(q, k, v, band, dropout, band is None, scale=scaling, enable_gqa=grouped))
    # Contiguous, as transformers' own functions return it: some models take a view of it.
    return torch.cat(outputs, dim=2).transpose(1, 2).to(in_dtype).contiguous(), None


def _written_out(
    q_BHTD: torch.Tensor,
    k_BHTD: torch.Tensor,
    v_BHTD: torch.Tensor,
    band_TT: torch.Tensor | None,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
    sinks_H: torch.Tensor | None,
) -> torch.Tensor:
    """Attention of one document step by step, for what no fused kernel computes."""
    groups = q_BHTD.shape[1] // k_BHTD.shape[1]
    k_BHTD, v_BHTD = k_BHTD.repeat_interleave(groups, 1), v_BHTD.repeat_interleave(groups, 1)
    scale = q_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
    scores_BHTT = (q_BHTD @ k_BHTD.transpose(2, 3)).float() * scale
    if softcap is not None:
        scores_BHTT = softcap * torch.tanh(scores_BHTT / softcap)
    length = q_BHTD.shape[2]
    seen_TT = torch.ones(length, length, dtype=torch.bool, device=q_BHTD.device).tril()
    scores_BHTT = scores_BHTT.masked_fill(~(seen_TT if band_TT is None else band_TT), float("-inf"))
    if sinks_H is not None:
        sinks = sinks_H.float().reshape(1, -1, 1, 1).expand(scores_BHTT.shape[0], -1, length, 1)
        scores_BHTT = torch.cat([scores_BHTT, sinks], dim=-1)
    weights_BHTT = scores_BHTT.softmax(dim=-1)[..., :length].to(v_BHTD.dtype)
    return functional.dropout(weights_BHTT, dropout) @ v_BHTD


def _varlen_kernel(dropout: float) -> Callable[..., torch.Tensor] | None:
    """Return the kernel that does a whole row in one call, or None where none here can do this dropout.

    flash-attn where installed, else PyTorch's own (2.10 and later), which knows no dropout.
    """
    with suppress(ImportError):
        flash: Any = importlib.import_module("flash_attn").flash_attn_varlen_func
        settings: dict[str, Any] = {"dropout_p": dropout, "causal": True}
        return lambda q, k, v, ends, longest, scale, window: flash(
            q, k, v, ends, ends, longest, longest, softmax_scale=scale, window_size=window, **settings
        )
    if dropout:
        return None
    with suppress(ImportError):
        varlen: Any = importlib.import_module("torch.nn.attention.varlen").varlen_attn
        return lambda q, k, v, ends, longest, scale, window: varlen(
            *(q, k, v, ends, ends, longest, longest),
            scale=scale,
            window_size=window,
            enable_gqa=k.shape[1] != q.shape[1],
        )
    return None


def _window_mask(query_BHTD: torch.Tensor, sliding_window: int | None) -> torch.Tensor | None:
    """Return the band mask of a model with a sliding window where the document is longer than it."""
    length = query_BHTD.shape[2]
    if sliding_window is None or length <= sliding_window:
        return None
    ones = torch.ones(length, length, dtype=torch.bool, device=query_BHTD.device)
    return ones.tril() & ~ones.tril(-sliding_window)
