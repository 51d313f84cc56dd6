"""Choose each row's next token from its logits, so that no row's choice depends on its neighbours.

A sampled row draws one uniform number a token from a counter-based stream of its own and inverts its
distribution with it; there is no shared generator whose state would depend on who else is in the batch.
Shapes: N rows, V tokens of the vocabulary, B blocks or P parts of W of them, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

_BLOCK = 64
"""Uniform numbers drawn at a time."""
_FIRST_CANDIDATES = 64
"""A nucleus of 95% at temperature 0.2 nearly always holds fewer tokens, and sorting a whole vocabulary of
49,152 costs more than the rest of the step."""
_WIDTH = 64
"""Tokens of a block of the vocabulary."""
_PART = 16 * _WIDTH
_ROWS_BY_PARTS = 4
"""Tokens of a part of the vocabulary, and rows from which on a row's largest number is sought by parts."""


class UniformStream:
    """An endless stream of numbers in [0, 1), the same for the same key on every machine (Philox)."""

    def __init__(self, key: int) -> None:
        self._bits = np.random.Philox(key=key & ((1 << 128) - 1))
        self._block: list[float] = []

    def next(self) -> float:
        """Return the next number."""
        if not self._block:
            # The raw output of a bit generator is stable across numpy's versions; its distributions are not.
            raw = np.asarray(self._bits.random_raw(_BLOCK), dtype=np.uint64)
            self._block = ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).tolist()[::-1]
        return self._block.pop()


def choose_tokens(
    logits_NV: torch.Tensor,
    temperatures: Sequence[float],
    top_ps: Sequence[float],
    streams: Sequence[UniformStream],
) -> list[int]:
    """Return one token id a row: the most likely one at temperature 0, else a draw from its nucleus.

    The nucleus is the smallest set of most likely tokens that holds at least `top_p` of the probability.
    """
    chosen = [0] * len(temperatures)
    greedy = [i for i, t in enumerate(temperatures) if t <= 0]
    if greedy:
        rows_NV = logits_NV if len(greedy) == len(chosen) else logits_NV[greedy]
        for row, token in zip(greedy, _most_likely(rows_NV).tolist(), strict=True):
            chosen[row] = token
    by_nucleus = [i for i, t in enumerate(temperatures) if t > 0 and top_ps[i] < 1]
    by_all = [i for i, t in enumerate(temperatures) if t > 0 and top_ps[i] >= 1]
    for rows, draw in ((by_nucleus, _draw_from_nucleus), (by_all, _draw_from_all)):
        if rows:
            scaled_NV = _scaled(logits_NV, rows, [temperatures[i] for i in rows])
            uniform_N1 = _column([streams[i].next() for i in rows], logits_NV.device)
            top_p_N1 = _column([top_ps[i] for i in rows], logits_NV.device)
            for row, token in zip(rows, draw(scaled_NV, uniform_N1, top_p_N1).tolist(), strict=True):
                chosen[row] = min(token, logits_NV.shape[1] - 1)  # what fills the last block has no weight
    return chosen


def _most_likely(logits_NV: torch.Tensor) -> torch.Tensor:
    """Return the id of each row's largest number, the first of equals, as `argmax` does.

    With few rows, or a vocabulary that has no such parts, by `max`: in bf16 four times as fast as argmax.
    Else the first part that holds it is found by vectors, which takes a third of that.
    """
    n, vocabulary = logits_NV.shape
    if n < _ROWS_BY_PARTS or vocabulary % _PART:
        return logits_NV.max(dim=-1).indices
    parts_NPW = logits_NV.view(n, -1, _PART)
    part_N = parts_NPW.view(n, -1, _PART // _WIDTH, _WIDTH).amax(dim=2).amax(dim=2).max(dim=1).indices
    within_NW = parts_NPW[torch.arange(n, device=part_N.device), part_N]
    return part_N * _PART + within_NW.max(dim=1).indices


def log_probabilities(
    logits_NV: torch.Tensor, rows: Sequence[int], tokens: Sequence[int], temperatures: Sequence[float]
) -> list[float]:
    """Return the log-probability, in nats, of one token for each of some rows, at a temperature above 0."""
    scaled_NV = _scaled(logits_NV, rows, temperatures)
    chosen_N1 = scaled_NV.gather(1, torch.tensor(tokens, device=logits_NV.device).unsqueeze(1))
    top_N1 = scaled_NV.amax(dim=1, keepdim=True)
    blocks_NBW = _blocks(_weights(scaled_NV, top_N1))
    total_N1 = blocks_NBW.sum(dim=2).sum(dim=1, keepdim=True, dtype=torch.float64)
    return ((chosen_N1 - top_N1).double() - total_N1.log())[:, 0].tolist()


def _scaled(logits_NV: torch.Tensor, rows: Sequence[int], temperatures: Sequence[float]) -> torch.Tensor:
    """Return a copy in fp32 of some rows, over their temperatures, filled up to whole blocks."""
    some_NV = logits_NV if len(rows) == len(logits_NV) else logits_NV[list(rows)]
    vocabulary = some_NV.shape[1]
    scaled_NV = torch.empty((len(rows), -(-vocabulary // _WIDTH) * _WIDTH), device=logits_NV.device)
    scaled_NV[:, vocabulary:] = float("-inf")
    torch.div(some_NV, _column(temperatures, logits_NV.device), out=scaled_NV[:, :vocabulary])
    return scaled_NV


def _column(values: Sequence[float], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).unsqueeze(1)


def _weights(scaled_NV: torch.Tensor, top_N1: torch.Tensor) -> torch.Tensor:
    """Return probabilities times a number of each row's own; `scaled_NV` is overwritten.

    What is below e^-80 of the most likely adds nothing in fp32, and takes ten times as long: denormals.
    """
    return scaled_NV.sub_(top_N1).clamp_(min=-80.0).exp_()


def _blocks(values_NV: torch.Tensor) -> torch.Tensor:
    """Return the vocabulary in blocks, N x B x W.

    A sum by blocks is the same for any number of rows; a whole row's is split among threads by that number.
    """
    return values_NV.view(len(values_NV), -1, _WIDTH)


def _draw_from_nucleus(
    scaled_NV: torch.Tensor, uniform_N1: torch.Tensor, top_p_N1: torch.Tensor
) -> torch.Tensor:
    """Return ids drawn from each row's nucleus; a row's candidates grow until they hold its nucleus."""
    vocabulary = scaled_NV.shape[1]
    k = min(_FIRST_CANDIDATES, vocabulary)
    top_NK, ids_NK = _first_candidates(scaled_NV, k)
    top_N1 = top_NK[:, :1].clone()
    blocks_NBW = _blocks(_weights(scaled_NV.clone(), top_N1))
    total_N1 = blocks_NBW.sum(dim=2).sum(dim=1, keepdim=True)
    chosen_N = torch.empty(len(scaled_NV), dtype=torch.long, device=scaled_NV.device)
    left_N = torch.arange(len(scaled_NV), device=scaled_NV.device)
    while True:
        p_NK = (top_NK - top_N1[left_N]).exp() / total_N1[left_N]
        cumulative_NK = p_NK.cumsum(dim=1)
        held_N = cumulative_NK[:, -1] >= top_p_N1[left_N, 0]
        if k == vocabulary:
            held_N = torch.ones_like(held_N)
        p_NK, cumulative_NK, done_N = p_NK[held_N], cumulative_NK[held_N], left_N[held_N]
        p_NK *= (cumulative_NK - p_NK) < top_p_N1[done_N]
        cumulative_NK = p_NK.cumsum(dim=1)
        at_N1 = torch.searchsorted(cumulative_NK, uniform_N1[done_N] * cumulative_NK[:, -1:], right=True)
        # Without numbers (NaN) nothing is above 0: the first candidate, and no error for the other rows.
        last_N1 = ((p_NK > 0).sum(dim=1, keepdim=True) - 1).clamp_(min=0)
        chosen_N[done_N] = ids_NK[held_N].gather(1, torch.minimum(at_N1, last_N1)).squeeze(1)
        left_N = left_N[~held_N]
        if not len(left_N):
            return chosen_N
        k = min(8 * k, vocabulary)
        top_NK, ids_NK = scaled_NV[left_N].topk(k, dim=1)


def _first_candidates(scaled_NV: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `k` largest of each row and their ids: they are in `k` blocks, by their maxima."""
    blocks_NBW = _blocks(scaled_NV)
    if blocks_NBW.shape[1] <= k:
        top = scaled_NV.topk(k, dim=1)
        return top.values, top.indices
    best_NK1 = blocks_NBW.amax(dim=2).topk(k, dim=1).indices.unsqueeze(2)
    some_NKW = blocks_NBW.gather(1, best_NK1.expand(-1, -1, _WIDTH))
    top = some_NKW.flatten(1).topk(k, dim=1)
    ids_NKW = best_NK1 * _WIDTH + torch.arange(_WIDTH, device=scaled_NV.device)
    return top.values, ids_NKW.flatten(1).gather(1, top.indices)


def _draw_from_all(scaled_NV: torch.Tensor, uniform_N1: torch.Tensor, top_p_N1: torch.Tensor) -> torch.Tensor:
    """Return ids drawn from each row's whole distribution: first the block, then the token in it."""
    weights_NBW = _blocks(_weights(scaled_NV, scaled_NV.amax(dim=1, keepdim=True)))
    until_NB = weights_NBW.sum(dim=2).cumsum(dim=1, dtype=torch.float64)
    target_N1 = uniform_N1.double() * until_NB[:, -1:]
    block_N1 = torch.searchsorted(until_NB, target_N1, right=True).clamp_(max=until_NB.shape[1] - 1)
    before_N1 = until_NB.gather(1, (block_N1 - 1).clamp_(min=0)) * (block_N1 > 0)
    within_NW = weights_NBW.gather(1, block_N1.unsqueeze(2).expand(-1, 1, _WIDTH)).squeeze(1)
    at_N1 = torch.searchsorted(
        within_NW.cumsum(dim=1, dtype=torch.float64), target_N1 - before_N1, right=True
    )
    # By rounding the target may lie past the block's own sum; without numbers (NaN) nothing is above 0.
    last_N1 = ((within_NW > 0).sum(dim=1, keepdim=True) - 1).clamp_(min=0)
    return (block_N1 * _WIDTH + torch.minimum(at_N1, last_N1)).squeeze(1)
