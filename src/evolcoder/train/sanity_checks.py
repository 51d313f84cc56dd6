"""Checks before training starts, so that a silent mistake stops it instead of spoiling the model: masks that
hide everything, an end token that is never learnt, packed examples that see each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch.nn import functional

from evolcoder.errors import TrainingError
from evolcoder.models.local.attention_reach import length_scaling
from evolcoder.train.attention import register_document_attention
from evolcoder.train.loss import HeadForm, MicroBatch, SummedLoss, packed_row, padded_rows, possible_forms
from evolcoder.train.settings import TrainSettings
from evolcoder.train.tokenization import TokenizedData

# Of a nat a token. Right packing differs by rounding (2.4e-7 in fp32), leaking rows by about 11%.
_TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2, "fp16": 3e-3}
_PROBE_TOKENS = 512
_SAME = 1e-3
"""Relative difference of hidden states, or of logits, in fp32: rounding gives 1e-5 over many layers, a
document that sees another, a missing soft cap or a sink far more."""
_SEES_LATER = 1e-2
"""Relative change of hidden states by later tokens, in fp32, above which a model is not causal."""
_MOST_WIDENED = 5.0
_INSTEAD = {
    "padded": ": padding instead, rows grouped by length",
    "single": ": one row at a time instead, which is right and slow",
}


def prove_supervision(data: TokenizedData) -> list[str]:
    """Return the log lines of the first two proofs; raises TrainingError where one does not hold."""
    supervised, total = int(data.supervised.sum()), int(data.lengths.sum())
    if supervised == 0:
        raise TrainingError(
            "no token is supervised: every response is empty or cut away; nothing could be learnt"
        )
    ending = data.n_ending()
    if ending == 0:
        raise TrainingError(
            f"the end token is supervised in none of {len(data)} rows (all are cut at max_length), "
            "so the model would never learn to stop; a larger max_length is needed"
        )
    lines = [
        f"proof 1: {supervised:,} of {total:,} tokens are supervised ({supervised / total:.0%})",
        f"proof 2: the end token is supervised in {ending:,} of {len(data):,} rows",
    ]
    if data.n_with_control:
        lines.append(f"{data.n_with_control:,} rows spell control tokens; they are trained on as text")
    if data.n_cut or data.n_dropped:
        lines.append(
            f"cut at max_length: {data.n_cut:,} responses ({data.n_cut_tokens:,} tokens); "
            f"left out, nothing to learn: {data.n_dropped:,} rows"
        )
    return lines


def check_finite(model: Any) -> None:
    """Raise TrainingError for a weight that is no number, which a probe of a few rows may not meet."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not parameter.isfinite().all():
            raise TrainingError(f"the base's {name} holds values that are no numbers; its weights are broken")


def probe_documents(data: TokenizedData, settings: TrainSettings) -> tuple[int, ...]:
    """Choose up to four documents that fit the probe together, the shortest ones where the first do not."""
    lengths = data.lengths
    chosen: list[int] = []
    room = min(_PROBE_TOKENS, settings.pack_length or settings.max_length)
    for i in [*range(min(64, len(data))), *sorted(range(len(data)), key=lambda i: int(lengths[i]))[:4]]:
        if len(chosen) < 4 and i not in chosen and lengths[i] <= room:
            chosen.append(i)
            room -= int(lengths[i])
    return tuple(chosen) or (int(lengths.argmin()),)


Rows = Literal["packed", "padded", "single"]
"""Documents end to end in a row, side by side in padded rows, or each through the model by itself."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How documents go through a model together so that each is computed as if it were alone."""

    rows: Rows
    attention: str
    """The name of the attention implementation."""
    head: HeadForm | None
    """None: the model makes its logits itself."""
    notes: tuple[str, ...] = ()
    """Log lines: what was not possible, and why."""


_MODEL_FAILS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError)
"""What the model classes raise where they are run in a way that they do not know."""


@torch.no_grad()
def choose_batching(model: Any, data: TokenizedData, settings: TrainSettings, pad: int) -> Batching:
    """Choose the fastest batching that is right for this model, decided in fp32 on its own weights.

    Hidden states of documents together are compared with those of each document alone under plain ("eager")
    attention, for these show what a loss hides; the head's form with the model's own logits. Where neither
    packed nor padded rows are right, each row goes through the model by itself. Raises TrainingError with the
    causes where that is wrong too. `model` holds fp32 weights (a 4-bit base is not probed: packed where its
    class takes an attention function).
    """
    own = model.config._attn_implementation
    kinds: tuple[Rows, ...] = ("padded", "single")
    ways = [(rows, attention) for rows in kinds for attention in dict.fromkeys((own, "eager"))]
    notes: list[str] = []
    name = type(model).__name__
    scaled, lengths = length_scaling(model.config), data.lengths
    if scaled is not None and lengths.min() <= scaled[1] < lengths.max():
        ways = [way for way in ways if way[0] == "single"]
        notes.append(
            f"{name}: beyond {scaled[1]:,} tokens the positions of a batch follow its longest row "
            f"({scaled[0]}), and the data has shorter rows too{_INSTEAD['single']}"
        )
    elif settings.packing and model._supports_attention_backend:
        ways.insert(0, ("packed", register_document_attention()))
    elif settings.packing:
        notes.append(
            f"{name} takes no attention function that would keep packed rows apart: "
            "padding instead, rows grouped by length"
        )
    if settings.quantize != "none":
        rows, attention = ways[0]
        return Batching(rows, attention, next(possible_forms(model.config)), tuple(notes))
    documents = probe_documents(data, settings)
    was_training = model.training
    model.eval()
    try:
        try:
            alone, head = _alone(model, data, documents)
        except _MODEL_FAILS as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(f"{name} cannot be run on a row of text ({reason})") from error
        for at, (rows, attention) in enumerate(ways):
            batches = [packed_row(data, (i,)) for i in documents]
            if rows != "single":
                whole = rows == "packed"
                batches = [packed_row(data, documents) if whole else padded_rows(data, documents, pad)]
            cause = _difference(model, attention, batches, alone)
            if cause is None:
                return Batching(rows, attention, head, tuple(notes))
            instead = _INSTEAD[ways[at + 1][0]] if ways[at + 1 :] and ways[at + 1][0] != rows else ""
            way = rows if rows == "packed" else f"{rows} ({attention} attention)"
            notes.append(f"{name}: {way}, {cause}{instead}")
    finally:
        model.train(was_training)
        model.set_attn_implementation(own)
    raise TrainingError(f"rows of a batch cannot be kept apart: {'; '.join(notes)}")


def _alone(
    model: Any, data: TokenizedData, documents: tuple[int, ...]
) -> tuple[list[torch.Tensor], HeadForm | None]:
    """Return the hidden states of each document by itself, and how logits come from them."""
    hidden: list[torch.Tensor] = []
    loss = SummedLoss(model)
    with _attention(model, "eager"):
        for i in documents:
            hidden.append(loss.hidden_states(packed_row(data, (i,)))[0])
        logits_TV = model(input_ids=packed_row(data, documents[:1]).input_ids, use_cache=False).logits[0]
    if not logits_TV.isfinite().all():
        raise TrainingError("the base model's own logits are not all numbers; its weights are broken")
    _check_causal(model, loss, data, documents[0], hidden[0])
    bound = _SAME * max(1.0, float(logits_TV.abs().max()))
    for form in possible_forms(model.config):
        try:
            ours_TV = form.logits(model.get_output_embeddings(), hidden[0])
        except RuntimeError:  # something of another width stands between (RemBERT)
            continue
        if ours_TV.shape == logits_TV.shape and float((ours_TV - logits_TV).abs().max()) <= bound:
            return hidden, form
    return hidden, None


def _check_causal(model: Any, loss: SummedLoss, data: TokenizedData, i: int, whole_TD: torch.Tensor) -> None:
    """Raise TrainingError where tokens see what comes after them: the loss would fall without learning."""
    row = packed_row(data, (i,))
    half = max(1, row.input_ids.shape[1] // 2)
    begun = replace(row, input_ids=row.input_ids[:, :half], position_ids=row.position_ids[:, :half])
    begun_TD = loss.hidden_states(begun)[0]
    worst = float(((begun_TD - whole_TD[:half]).norm(dim=-1) / whole_TD[:half].norm(dim=-1)).max())
    if worst > _SEES_LATER:
        raise TrainingError(
            f"{type(model).__name__}: tokens see those after them (hidden states change by {worst:.1%}); "
            "a causal model is expected"
        )


def _difference(
    model: Any, attention: str, batches: Sequence[MicroBatch], alone: list[torch.Tensor]
) -> str | None:
    """Say how documents together differ from `alone`; None where they do not."""
    rows: list[torch.Tensor] = []
    try:
        with _attention(model, attention):
            for batch in batches:
                hidden = SummedLoss(model).hidden_states(batch)
                rows += (
                    torch.split(hidden[0], list(batch.document_lengths))
                    if batch.attention_mask is None
                    else [hidden[i, :length] for i, length in enumerate(batch.document_lengths)]
                )
    except _MODEL_FAILS as error:
        return f"it fails ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
    worst = max(
        float(((ours - own).norm(dim=-1) / own.norm(dim=-1).clamp_min(1e-6)).max())
        for ours, own in zip(rows, alone, strict=True)
    )
    return None if worst <= _SAME else f"rows change each other (hidden states by {worst:.1%})"


@contextmanager
def _attention(model: Any, name: str) -> Iterator[None]:
    """Compute with another attention implementation for a while."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def rounding(dtype: str, supervised: int, loss: float) -> float:
    """Return the difference that rounding may make of a `loss` summed over `supervised` tokens, in nats.

    The rounding of single tokens averages out: over few of them it shows (1.4% over 66 tokens in bf16, where
    fp32 gives 5e-6), so the fewer there are, the wider; at most five times, which documents that see each
    other still exceed. A model's own answers have a loss near 0, which rounding changes by as much as one of
    a nat a token (0.3278 and 0.3336 a token in bf16).
    """
    widened = min(_MOST_WIDENED, max(1.0, math.sqrt(_PROBE_TOKENS / max(1, supervised))))
    return _TOLERANCE[dtype] * widened * max(abs(loss), supervised)


def plain_loss(model: Any, data: TokenizedData, i: int, device: torch.device) -> float:
    """Return the summed loss of one document by the model's own forward pass and its own attention."""
    row = packed_row(data, (i,)).to(device)
    with _attention(model, "eager"):
        logits_TV = model(input_ids=row.input_ids, use_cache=False).logits[0]
    return float(
        functional.cross_entropy(logits_TV[row.supervised_S].float(), row.targets_S, reduction="sum")
    )
