"""Attention of the newest token of many rows on a CPU, by a kernel that is compiled where it runs.

torch's kernel computes every row up to the longest one's end and copies much of it: it takes 3 times as long
as this one, which reads each row's own keys and values once. Where there is no C compiler, and for what the
kernel does not know (other heads, formats, soft caps, sinks), torch's is used.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from evolcoder.cache import cache_folder
from evolcoder.runs import content_hash

ROW_ATTENTION = "evolcoder_rows"
"""The name by which transformers knows it."""
_SOURCE = Path(__file__).with_name("row_attention.c")
_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")
_LANES, _MOST_WIDTH, _MOST_GROUP = 16, 256, 16
_COMPILE_S = 60
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
    kernel = None
    learns = torch.is_grad_enabled() and query_NHTD.requires_grad
    known = not dropout and not learns and all(further.get(name) is None for name in _UNKNOWN)
    if known and query_NHTD.shape[2] == 1:
        kernel = _kernel_for(query_NHTD, key_NKCD, value_NKCD, attention_mask)
    if kernel is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query_NHTD, key_NKCD, value_NKCD, attention_mask, dropout, scaling, **further
        )
        return out
    n, heads, _, width = query_NHTD.shape
    out_N1HD = query_NHTD.new_empty((n, 1, heads, width))
    mask, mask_stride = None, 0
    if attention_mask is not None:
        mask, mask_stride = attention_mask.data_ptr(), attention_mask.stride(0)
    strides = ctypes.c_int64 * 3
    short_of_memory = kernel(
        query_NHTD.data_ptr(),
        strides(*query_NHTD.stride()[:3]),
        key_NKCD.data_ptr(),
        strides(*key_NKCD.stride()[:3]),
        value_NKCD.data_ptr(),
        strides(*value_NKCD.stride()[:3]),
        mask,
        mask_stride,
        out_N1HD.data_ptr(),
        n,
        key_NKCD.shape[1],
        key_NKCD.shape[2],
        width**-0.5 if scaling is None else float(scaling),
    )
    if short_of_memory:
        raise MemoryError(f"attention over {key_NKCD.shape[2]} tokens")
    return out_N1HD, None


def _kernel_for(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> Callable[..., int] | None:
    """Return the kernel for these shapes; None where they are not its."""
    n, heads, _, width = query.shape
    group, rest = divmod(heads, key.shape[1])
    dense = all(x.stride(-1) == 1 and x.dtype == query.dtype for x in (query, key, value))
    fits = key.shape == value.shape and key.shape[0] == n and key.shape[3] == width and not rest
    if not (dense and fits and group <= _MOST_GROUP and width <= _MOST_WIDTH and width % _LANES == 0):
        return None
    if mask is not None:
        line = mask.dtype == query.dtype and mask.stride(-1) == 1
        if not line or mask.shape != (n, 1, 1, key.shape[2]):
            return None
    if query.dtype not in (torch.float32, torch.bfloat16) or query.device.type != "cpu":
        return None
    return _compiled(group, width, query.dtype == torch.bfloat16)


@functools.lru_cache(maxsize=64)
def _compiled(group: int, width: int, bf16: bool) -> Callable[..., int] | None:
    """Return the kernel, from the cache folder where it was compiled before; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    given = (f"-DGROUP={group}", f"-DWIDTH={width}", *(("-DBF16",) if bf16 else ()))
    name = content_hash(_SOURCE.read_text(), _FLAGS, given, _processor())
    kept = cache_folder() / "kernels" / f"row-attention-{name[:16]}.so"
    try:
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
                made = Path(folder) / "made.so"
                command = [compiler, *_FLAGS, *given, "-o", str(made), str(_SOURCE)]
                subprocess.run(command, check=True, capture_output=True, timeout=_COMPILE_S)
                made.replace(kept)
        kernel = ctypes.CDLL(str(kept)).row_attention
    except (OSError, subprocess.SubprocessError, AttributeError):
        return None
    strides = ctypes.POINTER(ctypes.c_int64)
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    tensors: list[Any] = [pointer, strides, pointer, strides, pointer, strides, pointer, whole]
    kernel.argtypes = [*tensors, pointer, whole, whole, whole, ctypes.c_float]
    kernel.restype = ctypes.c_int
    found: Callable[..., int] = kernel
    return found


def _processor() -> str:
    """Return what tells processors apart: code for one may not run on another that shares the folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    told = ("flags", "Features", "model name")
    return "\n".join(sorted({line for line in lines if line.startswith(told)}))
