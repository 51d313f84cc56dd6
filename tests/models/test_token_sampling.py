"""Tokens are drawn from the distribution that temperature and top-p say, at any size of vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evolcoder.models.local.token_sampling import UniformStream, choose_tokens, log_probabilities

ROWS = 40


def by_definition(logits: torch.Tensor, temperature: float, top_p: float, uniform: float) -> int:
    """One token by a full sort in float64, or in the vocabulary's order where all of it counts."""
    scaled = logits.double().numpy() / temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable") if top_p < 1 else np.arange(len(p))
    cumulative = np.cumsum(p[order])
    held = int(np.searchsorted(cumulative, top_p)) + 1 if top_p < 1 else len(p)
    return int(order[np.searchsorted(cumulative[:held], uniform * cumulative[:held][-1], side="right")])


@pytest.mark.parametrize("vocabulary", [50, 64, 258, 9001])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.2, 0.95), (1.0, 0.9), (2.0, 0.99)])
def test_a_draw_is_the_one_of_the_definition(vocabulary: int, temperature: float, top_p: float) -> None:
    logits = 3 * torch.randn(ROWS, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    uniforms = [UniformStream(row).next() for row in range(ROWS)]
    expected = [
        by_definition(logits[row], temperature, top_p, uniform) for row, uniform in enumerate(uniforms)
    ]
    streams = [UniformStream(row) for row in range(ROWS)]
    assert choose_tokens(logits, [temperature] * ROWS, [top_p] * ROWS, streams) == expected
    assert len(set(expected)) > 5


def test_log_probabilities_are_those_of_a_softmax_over_the_whole_vocabulary() -> None:
    logits = 3 * torch.randn(6, 9001, generator=torch.Generator().manual_seed(1))
    plain = (logits[[1, 4]] / 0.5).log_softmax(dim=1)
    found = log_probabilities(logits, [1, 4], [7, 9000], [0.5, 0.5])
    assert found == pytest.approx([float(plain[0, 7]), float(plain[1, 9000])], abs=1e-4)


@pytest.mark.parametrize("vocabulary", [2048, 2000, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_with_no_temperature_the_first_of_the_largest_is_chosen(vocabulary: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(vocabulary)
    for rows in (1, 3, 4, 30):
        logits = torch.randint(-9, 3, (rows, vocabulary), generator=random).to(dtype)
        logits[0] = float("-inf")
        logits[-1, vocabulary // 2 :] = 7
        expected = [row.index(max(row)) for row in logits.tolist()]
        assert choose_tokens(logits, [0.0] * rows, [1.0] * rows, [UniformStream(0)] * rows) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("whole_row", [False, True])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.8, 0.9), (0.8, 1.0)])
def test_a_row_without_numbers_leaves_its_neighbours_alone(
    value: float, whole_row: bool, temperature: float, top_p: float
) -> None:
    logits_NV = torch.randn(5, 1000, generator=torch.Generator().manual_seed(7))
    broken_NV = logits_NV.clone()
    broken_NV[2, slice(None) if whole_row else 5] = value

    def chosen(some_NV: torch.Tensor) -> list[int]:
        streams = [UniformStream(i) for i in range(5)]
        return choose_tokens(some_NV, [temperature] * 5, [top_p] * 5, streams)

    got, expected = chosen(broken_NV), chosen(logits_NV)
    assert got[:2] + got[3:] == expected[:2] + expected[3:]
    assert 0 <= got[2] < 1000
