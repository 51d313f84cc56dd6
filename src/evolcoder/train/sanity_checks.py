"""What training proves before it starts, so that a silent mistake stops it instead of spoiling the model.

The three mistakes users of trainers meet most: masks that hide everything, an end token that is never
learnt, and packed examples that see each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from evolcoder.errors import TrainingError
from evolcoder.train.loss import MicroBatch, SummedLoss, packed_row
from evolcoder.train.settings import TrainSettings
from evolcoder.train.tokenization import TokenizedData

# Relative. Right packing differs by rounding (2.4e-7 in fp32); documents that see each other by about 11%.
_TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2, "fp16": 3e-3}
_PROBE_TOKENS = 512
_MOST_WIDENED = 5.0


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
    if data.n_cut or data.n_dropped:
        lines.append(
            f"cut at max_length: {data.n_cut:,} responses ({data.n_cut_tokens:,} tokens); "
            f"left out, nothing to learn: {data.n_dropped:,} rows"
        )
    return lines


def probe_documents(data: TokenizedData, limit: int) -> tuple[int, ...]:
    """Choose up to four documents that fit the probe together, the shortest ones where the first do not."""
    lengths = data.lengths
    chosen: list[int] = []
    room = limit
    for i in [*range(min(64, len(data))), *sorted(range(len(data)), key=lambda i: int(lengths[i]))[:4]]:
        if len(chosen) < 4 and i not in chosen and lengths[i] <= room:
            chosen.append(i)
            room -= int(lengths[i])
    return tuple(chosen) or (int(lengths.argmin()),)


@torch.no_grad()
def prove_batching(
    model: Any,
    summed_loss: SummedLoss,
    data: TokenizedData,
    settings: TrainSettings,
    batch: Callable[[tuple[int, ...]], MicroBatch],
    device: torch.device,
) -> str:
    """Compare the loss as training computes it with the plain model's, document by document.

    Return the log line; raises TrainingError where they differ by more than rounding.
    """
    documents = probe_documents(data, min(_PROBE_TOKENS, settings.pack_length or settings.max_length))
    was_training = model.training
    model.eval()
    trained = float(summed_loss(batch(documents).to(device)))
    plain = sum(plain_loss(model, data, i, device) for i in documents)
    model.train(was_training)
    n = sum(int(data.supervised[i]) for i in documents)
    difference = abs(trained - plain) / abs(plain)
    kind = "packed" if settings.packing else "padded"
    if not math.isfinite(plain):
        raise TrainingError(f"the base model's own loss is {plain}; its weights are broken")
    if not difference <= tolerance(settings.dtype, n):
        advice = "; packing: false trains this model with padding instead" if settings.packing else ""
        raise TrainingError(
            f"the {kind} loss of {len(documents)} rows is {trained / n:.6f}, alone it is {plain / n:.6f}: "
            f"the model does not keep rows apart{advice}"
        )
    values = f"{kind} loss {trained / n:.6f} equals the loss row by row {plain / n:.6f}"
    return f"proof 3: {values} (relative difference {difference:.1e})"


def tolerance(dtype: str, supervised: int) -> float:
    """Return the relative difference that rounding may make of a loss over `supervised` tokens.

    The rounding of single tokens averages out: over few of them it shows (1.4% over 66 tokens in bf16, where
    fp32 gives 5e-6), so the fewer there are, the wider; at most five times, which documents that see each
    other still exceed.
    """
    return _TOLERANCE[dtype] * min(_MOST_WIDENED, max(1.0, math.sqrt(_PROBE_TOKENS / max(1, supervised))))


def plain_loss(model: Any, data: TokenizedData, i: int, device: torch.device) -> float:
    """Return the summed loss of one document by the model's own forward pass and its own attention."""
    row = packed_row(data, (i,)).to(device)
    attention = model.config._attn_implementation
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    try:
        logits_TV = model(input_ids=row.input_ids, use_cache=False).logits[0]
    finally:
        model.set_attn_implementation(attention)
    return float(
        functional.cross_entropy(logits_TV[row.supervised_S].float(), row.targets_S, reduction="sum")
    )
