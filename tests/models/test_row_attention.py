"""The attention kernel compiled where it runs: torch's numbers, and torch's kernel where it cannot be."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from evolcoder.models.local import row_attention

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler: apt-get install gcc"
)


def inputs(
    group: int, width: int, dtype: torch.dtype, rows: int = 5, key_heads: int = 2, columns: int = 41
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, keys and values as a cache hands them out (views of larger tensors), a mask for uneven rows."""
    random = torch.Generator().manual_seed(group * 1000 + width)
    query = torch.randn(rows, 1, key_heads * group, width, generator=random).to(dtype).transpose(1, 2)
    room = torch.randn(2, rows + 3, key_heads, columns + 23, width, generator=random).to(dtype)
    keys, values = room[0, :rows, :, :columns], room[1, :rows, :, :columns]
    lengths = torch.tensor([1, 16, 17, 40, 41])[:rows]
    hidden = torch.arange(columns) >= lengths[:, None]
    mask = torch.zeros(rows, columns, dtype=dtype).masked_fill(hidden, -math.inf)[:, None, None]
    return query, keys, values, mask


def exact(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Attention in fp64, every head with its own keys; [N, 1, H, D]."""
    group = query.shape[1] // keys.shape[1]
    k, v = (x.double().repeat_interleave(group, 1) for x in (keys, values))
    bias = None if mask is None else mask.double()
    out = functional.scaled_dot_product_attention(query.double(), k, v, attn_mask=bias, scale=scale)
    return out.transpose(1, 2)


@needs_a_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("group", "width"), [(1, 16), (3, 64), (8, 128), (16, 256), (5, 80)])
def test_it_gives_what_attention_is(group: int, width: int, dtype: torch.dtype) -> None:
    query, keys, values, mask = inputs(group, width, dtype)
    module = torch.nn.Module()
    near = 3e-6 if dtype == torch.float32 else 2e-2
    for bias in (mask, None, mask + torch.linspace(-1, 1, keys.shape[2]).to(dtype)):
        got, _ = row_attention.row_attention(module, query, keys, values, bias, scaling=0.2)
        assert got.is_contiguous()
        assert (got.double() - exact(query, keys, values, bias, 0.2)).abs().max() < near


@needs_a_compiler
def test_large_scores_and_what_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    query, keys, values, mask = inputs(3, 64, torch.float32)
    got, _ = row_attention.row_attention(torch.nn.Module(), query * 300, keys, values, mask)
    assert (got.double() - exact(query * 300, keys, values, mask, 0.125)).abs().max() < 1e-4
    values = values.clone()
    values[:, :, -1] = math.nan
    got, _ = row_attention.row_attention(torch.nn.Module(), query, keys, values, mask)
    assert torch.isfinite(got[:-1]).all(), "what the mask hides is not read"
    assert torch.isnan(got[-1]).all()


@needs_a_compiler
def test_a_row_does_not_depend_on_its_neighbours() -> None:
    query, keys, values, mask = inputs(3, 64, torch.bfloat16)
    together, _ = row_attention.row_attention(torch.nn.Module(), query, keys, values, mask)
    for i in range(len(query)):
        one = slice(i, i + 1)
        alone, _ = row_attention.row_attention(
            torch.nn.Module(), query[one], keys[one], values[one], mask[one]
        )
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("compiler", ["none", "fails", "writes no library"])
def test_without_a_compiler_torch_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    if compiler != "none":
        what = "exit 1" if compiler == "fails" else 'while [ "$1" != -o ]; do shift; done; echo no > "$2"'
        (tmp_path / "cc").write_text(f"#!/bin/sh\n{what}\n")
        (tmp_path / "cc").chmod(0o755)
    width = {"none": 32, "fails": 48, "writes no library": 112}[compiler]  # kernels of no other test
    query, keys, values, mask = inputs(1, width, torch.float32)
    got, _ = row_attention.row_attention(torch.nn.Module(), query, keys, values, mask)
    assert (got.double() - exact(query, keys, values, mask, width**-0.5)).abs().max() < 2e-6


@pytest.mark.parametrize("what", ["a width of 24", "fp64", "several new tokens"])
def test_what_the_kernel_does_not_know_is_torchs(what: str) -> None:
    dtype = torch.float64 if what == "fp64" else torch.float32
    query, keys, values, mask = inputs(1, 24 if what == "a width of 24" else 16, dtype)
    if what == "several new tokens":
        query = query.repeat(1, 1, 2, 1)
    got, _ = row_attention.row_attention(torch.nn.Module(), query, keys, values, mask)
    assert (got.double() - exact(query, keys, values, mask, query.shape[-1] ** -0.5)).abs().max() < 2e-6


def test_a_token_that_is_learnt_from_keeps_its_gradient() -> None:
    query, keys, values, mask = inputs(1, 64, torch.float32)
    query.requires_grad_(True)
    got, _ = row_attention.row_attention(torch.nn.Module(), query, keys, values, mask)
    got.sum().backward()
    assert query.grad is not None
