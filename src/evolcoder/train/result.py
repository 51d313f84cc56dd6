"""The result of a training, and whether a folder holds one already. Nothing heavy is imported here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evolcoder.models.local.identity import content_identity
from evolcoder.records import Instruction
from evolcoder.runs import content_hash
from evolcoder.train.deepspeed_config import read_deepspeed_config
from evolcoder.train.settings import NAME_OF_AUTO, Precision, TrainSettings

TRAINING_FACTS = "training.json"

# What can change without changing the weights; none of it names a training.
NOT_IN_NAME = ("save_every_steps", "keep", "log_every_steps", "eval_every_steps", "tracking")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished fine-tuning."""

    folder: Path
    """The Hugging Face folder: weights, tokenizer, generation config, model card, training.json."""
    losses: tuple[float, ...]
    """Loss of each step: the mean over its supervised tokens, in nats."""
    tokens: int
    """Tokens trained on, padding not counted."""
    seconds: float
    """Time in training steps, over all resumed parts."""
    padding_share: float
    """Part of the computed positions that was padding, in [0, 1]."""
    resumed_from: int = 0
    """Steps that an earlier, interrupted process had done."""
    held_out_losses: tuple[tuple[int, float], ...] = ()
    """(Steps done, mean loss in nats) of each measurement on held-out rows."""


def training_fingerprint(
    base: str, data: Sequence[Instruction], settings: TrainSettings, held_out: Sequence[Instruction] = ()
) -> str:
    """Return the name, by content, of a training: base model, rows and settings."""
    chosen = {key: value for key, value in asdict(settings).items() if key not in NOT_IN_NAME}
    if settings.dtype == "auto":
        chosen["dtype"] = NAME_OF_AUTO
    if settings.deepspeed is not None:
        chosen["deepspeed"] = read_deepspeed_config(settings.deepspeed)
    rows, measured = [_texts(row) for row in data], [_texts(row) for row in held_out]
    return content_hash(content_identity(base), rows, chosen, *([measured] if measured else []))


def _texts(row: Instruction) -> list[Any]:
    chat = row.extra.get("messages")
    return [row.instruction, row.input, row.response, *([chat] if chat else [])]


def finished_result(out: Path, fingerprint: str, dtype: Precision = "auto") -> TrainResult | None:
    """Return the result in `out` where it is this training's, in this number format; None otherwise."""
    try:
        facts = json.loads((out / TRAINING_FACTS).read_text(encoding="utf-8"))
        if facts["fingerprint"] != fingerprint:
            return None
        if dtype not in ("auto", facts["settings"]["dtype"]):  # one that followed the machine is named alike
            return None
        totals = facts["tokens"], facts["seconds"], facts["padding_share"], facts["resumed_from_step"]
        held_out = tuple((record["step"], record["loss"]) for record in facts["evaluations"])
        return TrainResult(out, tuple(facts["losses"]), *totals, held_out)
    except (OSError, ValueError, KeyError, TypeError):
        return None
