"""The loss: the head and cross-entropy at supervised positions only, some positions at a time.

Shapes: T tokens of a row, S supervised positions, C positions of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from evolcoder.train.attention import DOCUMENT_ATTENTION
from evolcoder.train.tokenization import TokenizedData

_LOGITS_AT_ONCE = 1 << 25
"""Logits in memory at a time: 128 MiB in fp32."""

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the log-probabilities of a micro-batch's supervised tokens and the entropies at their places (S, fp32,
in nats) to a loss. The entropies carry no gradient."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What goes through the model at once: one packed row, or several padded ones."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    """1 at tokens, 0 at padding; None for a packed row."""
    document_lengths: tuple[int, ...]
    supervised_S: torch.Tensor
    """Flat positions whose next token counts in the loss."""
    targets_S: torch.Tensor
    """That next token."""

    def to(self, device: torch.device) -> MicroBatch:
        """Return the batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name in self.__slots__
            if isinstance(value := getattr(self, name), torch.Tensor)
        }
        return replace(self, **moved)


def unmasked_positions(data: TokenizedData, i: int, begin: int) -> npt.NDArray[np.int64]:
    """Return the positions of document i that count in the loss: those whose next token is learnt.

    The prompt, and other turns than the assistant's, are masked (label -100 in other trainers); the end token
    after a response is supervised. `begin` is where the document stands in the micro-batch.
    """
    return begin + data.learnt_places(i) - 1


def packed_row(data: TokenizedData, documents: tuple[int, ...]) -> MicroBatch:
    """Put documents end to end in one row; positions start again at 0 in each."""
    parts = [data.document(i) for i in documents]
    lengths = tuple(len(part) for part in parts)
    begins = np.cumsum((0, *lengths[:-1]))
    supervised = [unmasked_positions(data, i, int(begin)) for i, begin in zip(documents, begins, strict=True)]
    tokens = np.concatenate(parts)
    positions = np.concatenate([np.arange(length) for length in lengths])
    return _micro_batch(tokens[None], positions[None], None, lengths, np.concatenate(supervised))


def padded_rows(data: TokenizedData, documents: tuple[int, ...], pad: int) -> MicroBatch:
    """Put each document in its own row, padded on the right to the longest."""
    lengths = tuple(int(data.lengths[i]) for i in documents)
    longest = max(lengths)
    tokens = np.full((len(documents), longest), pad, dtype=np.int32)
    supervised = []
    for row, (i, length) in enumerate(zip(documents, lengths, strict=True)):
        tokens[row, :length] = data.document(i)
        begin = row * longest
        supervised.append(unmasked_positions(data, i, begin))
    columns = np.arange(longest)
    # The attention mask is made from lengths: made from "is not the pad token" it would hide the end token
    # where the two are one, and the model would never learn to stop.
    mask = columns[None] < np.array(lengths)[:, None]
    positions = np.where(mask, columns[None], 0)
    return _micro_batch(tokens, positions, mask, lengths, np.concatenate(supervised))


def _micro_batch(
    tokens: npt.NDArray[np.int32],
    positions: npt.NDArray[np.int64],
    mask: npt.NDArray[np.bool_] | None,
    lengths: tuple[int, ...],
    supervised: npt.NDArray[np.int64],
) -> MicroBatch:
    flat = tokens.reshape(-1)
    return MicroBatch(
        torch.from_numpy(tokens.astype(np.int64)),
        torch.from_numpy(positions.astype(np.int64)),
        None if mask is None else torch.from_numpy(mask.astype(np.int64)),
        lengths,
        torch.from_numpy(supervised),
        torch.from_numpy(flat[supervised + 1].astype(np.int64)),
    )


@dataclass(frozen=True, slots=True)
class HeadForm:
    """Logits are z = scale * (weight @ hidden + bias); with a soft cap, softcap * tanh(z / softcap)."""

    scale: float = 1.0
    softcap: float | None = None

    def logits(self, head: Any, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Return the logits of N positions, N x vocabulary, in fp32."""
        logits_NV = functional.linear(hidden_ND, head.weight, getattr(head, "bias", None)).float()
        _apply_form(logits_NV, self)
        return logits_NV


_MULTIPLIERS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
_DIVISORS = ("logits_scaling",)
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


def possible_forms(config: Any) -> Iterator[HeadForm]:
    """Yield the forms of head that the configuration's names suggest, the likeliest first.

    The same name means other things in some models (MPT's `logit_scale` is often None), so a form is taken
    only once it gives the model's own logits (`sanity_checks.choose_batching`).
    """
    text = config.get_text_config()
    known = {
        name: float(value)
        for name in (*_MULTIPLIERS, *_DIVISORS, *_SOFT_CAPS)
        if isinstance(value := getattr(text, name, None), (int, float)) and value
    }
    scale = math.prod(known.get(name, 1.0) for name in _MULTIPLIERS)
    scale /= math.prod(known.get(name, 1.0) for name in _DIVISORS)
    form = HeadForm(scale, next((known[name] for name in _SOFT_CAPS if name in known), None))
    yield form
    if form != HeadForm():
        yield HeadForm()


class SummedLoss(nn.Module):
    """A causal model that returns the summed cross-entropy of a micro-batch's supervised tokens.

    `head` says how its logits come from its hidden states; None: in a way of its own, so that the model makes
    them itself, all at once.
    """

    def __init__(self, model: Any, head: HeadForm | None = HeadForm()) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(
        self, batch: MicroBatch, objective: Objective | None = None, temperature: float = 1.0
    ) -> torch.Tensor:
        """Return the sum over supervised positions, in nats, as fp32; or what `objective` makes of them.

        `temperature` divides the logits, as sampling does.
        """
        if self.head is None:
            logp_S, entropy_S = _read_logits(self._own_logits(batch) / temperature, batch.targets_S)
            return -logp_S.sum() if objective is None else objective(logp_S, entropy_S.detach())
        hidden_SD = self._supervised(self.hidden_states(batch), batch)
        if objective is None and temperature == 1.0:
            return self._summed(hidden_SD, batch.targets_S, None, temperature)
        objective = objective or (lambda logp_S, entropy_S: -logp_S.sum())
        # The head is computed twice, so that an objective may look at whole answers before it weighs a token.
        logp_S, entropy_S = self._read(hidden_SD.detach(), batch.targets_S, temperature)
        with torch.enable_grad():
            leaf_S = logp_S.requires_grad_()
            value = objective(leaf_S, entropy_S)
            (slope_S,) = torch.autograd.grad(value, leaf_S)
        summed = self._summed(hidden_SD, batch.targets_S, -slope_S, temperature)
        return value.detach() + (summed - summed.detach())

    @torch.no_grad()
    def log_probabilities(
        self, batch: MicroBatch, temperature: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each supervised token's log-probability and the entropy at its place, in nats (S, fp32)."""
        if self.head is None:
            return _read_logits(self._own_logits(batch) / temperature, batch.targets_S)
        hidden_SD = self._supervised(self.hidden_states(batch), batch)
        return self._read(hidden_SD, batch.targets_S, temperature)

    def _own_logits(self, batch: MicroBatch) -> torch.Tensor:
        logits = self.model(**self._inputs(self.model, batch)).logits
        return self._supervised(logits, batch).float()

    def _supervised(self, rows: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        return rows.reshape(-1, rows.shape[-1])[batch.supervised_S]

    def _summed(
        self,
        hidden_SD: torch.Tensor,
        targets_S: torch.Tensor,
        weights_S: torch.Tensor | None,
        temperature: float,
    ) -> torch.Tensor:
        head = self.model.get_output_embeddings()
        bias = getattr(head, "bias", None)
        loss: torch.Tensor = _HeadAndCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden_SD, head.weight, bias, targets_S, weights_S, self.head, temperature
        )
        return loss

    @torch.no_grad()
    def _read(
        self, hidden_SD: torch.Tensor, targets_S: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probability and entropy at each position, a chunk of logits at a time."""
        assert self.head is not None
        head = self.model.get_output_embeddings()
        logp_S = torch.empty(len(targets_S), dtype=torch.float32, device=hidden_SD.device)
        entropy_S = torch.empty_like(logp_S)
        chunk = max(64, _LOGITS_AT_ONCE // head.weight.shape[0])
        for begin in range(0, len(targets_S), chunk):
            at = slice(begin, begin + chunk)
            logits_CV = self.head.logits(head, hidden_SD[at]).div_(temperature)
            logp_S[at], entropy_S[at] = _read_logits(logits_CV, targets_S[at])
        return logp_S, entropy_S

    def hidden_states(self, batch: MicroBatch) -> torch.Tensor:
        """Return what the head gets: rows x tokens x width."""
        # Llama 4's text model names a part that only its multimodal wrapper has.
        backbone = getattr(self.model, self.model.base_model_prefix, None) or self.model.model
        hidden: torch.Tensor = backbone(**self._inputs(backbone, batch)).last_hidden_state
        return hidden

    def _inputs(self, module: Any, batch: MicroBatch) -> dict[str, Any]:
        """Return what a forward pass takes.

        Positions are told for packed rows only: some models (RoBERTa's family) begin theirs elsewhere than at
        0, and some (BLOOM) take none.
        """
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        inputs["use_cache"] = False
        if self.model.config._attn_implementation == DOCUMENT_ATTENTION:
            ends = torch.tensor([0, *np.cumsum(batch.document_lengths).tolist()], dtype=torch.int32)
            inputs["document_lengths"] = batch.document_lengths
            inputs["cu_seq_lens"] = ends.to(batch.input_ids.device, non_blocking=True)
            if "position_ids" in inspect.signature(module.forward).parameters:
                inputs["position_ids"] = batch.position_ids
        return inputs


def _read_logits(logits_SV: torch.Tensor, targets_S: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the targets' log-probabilities and the entropies, in nats."""
    logp_SV = logits_SV.log_softmax(dim=-1)
    return logp_SV.gather(1, targets_S[:, None])[:, 0], -(logp_SV.exp() * logp_SV).sum(dim=-1)


class _HeadAndCrossEntropy(torch.autograd.Function):
    """Logits, loss and gradients of the head chunk by chunk, so that the logits never exist as a whole.

    The gradient is made in the forward pass, while a chunk's logits are there; the backward pass only
    scales it. Nothing is computed twice, and memory does not grow with the number of positions.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_SD: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_S: torch.Tensor,
        weights_S: torch.Tensor | None,
        form: HeadForm,
        temperature: float,
    ) -> torch.Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        n, vocabulary = hidden_SD.shape[0], weight_VD.shape[0]
        loss = torch.zeros((), dtype=torch.float32, device=hidden_SD.device)
        grad_hidden_SD = torch.empty_like(hidden_SD) if needs_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
        grad_bias_V = torch.zeros(vocabulary, device=hidden_SD.device) if needs_bias else None
        chunk = max(64, _LOGITS_AT_ONCE // vocabulary)
        for begin in range(0, n, chunk):
            hidden_CD, targets_C = hidden_SD[begin : begin + chunk], targets_S[begin : begin + chunk]
            # Every step in place: at this size a temporary costs as much as the arithmetic.
            exp_CV = functional.linear(hidden_CD, weight_VD, bias_V).float()
            slope_CV = _apply_form(exp_CV, form)
            if temperature != 1.0:
                exp_CV.div_(temperature)
            top_C = exp_CV.amax(dim=-1)
            target_C = exp_CV.gather(1, targets_C[:, None])[:, 0]
            sum_C = exp_CV.sub_(top_C[:, None]).exp_().sum(dim=-1)
            loss_C = sum_C.log() + top_C - target_C
            if weights_S is not None:
                loss_C = loss_C * weights_S[begin : begin + chunk]
            loss += loss_C.sum()
            if not (needs_hidden or needs_weight or needs_bias):
                continue
            grad_CV = exp_CV.div_(sum_C[:, None])
            grad_CV.scatter_add_(1, targets_C[:, None], torch.full_like(sum_C, -1.0)[:, None])
            if weights_S is not None:
                grad_CV.mul_(weights_S[begin : begin + chunk, None])
            if slope_CV is not None:
                grad_CV.mul_(slope_CV)
            if form.scale != temperature:
                grad_CV.mul_(form.scale / temperature)
            if grad_bias_V is not None:
                grad_bias_V += grad_CV.sum(dim=0)
            low_CV = grad_CV.to(hidden_SD.dtype)
            if grad_hidden_SD is not None:
                grad_hidden_SD[begin : begin + chunk] = low_CV @ weight_VD
            if grad_weight_VD is not None:
                grad_weight_VD += low_CV.T @ hidden_CD
        ctx.save_for_backward(
            grad_hidden_SD,
            None if grad_weight_VD is None else grad_weight_VD.to(weight_VD.dtype),
            None if grad_bias_V is None or bias_V is None else grad_bias_V.to(bias_V.dtype),
        )
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = grads
        grads_of_head = (None if saved is None else saved.mul_(scale) for saved in ctx.saved_tensors)
        return (*grads_of_head, None, None, None, None)


def _apply_form(logits_CV: torch.Tensor, form: HeadForm) -> torch.Tensor | None:
    """Scale and cap logits in place; return the cap's slope at each, None where there is no cap."""
    if form.scale != 1.0:
        logits_CV.mul_(form.scale)
    if form.softcap is None:
        return None
    tanh_CV = logits_CV.div_(form.softcap).tanh_()
    slope_CV = 1.0 - tanh_CV.square()
    logits_CV.mul_(form.softcap)
    return slope_CV
