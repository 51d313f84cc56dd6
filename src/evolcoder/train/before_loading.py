"""What can be known to go wrong before any weight is loaded: said by the plan, and checked by a training."""

from __future__ import annotations

from typing import Any

from evolcoder.errors import TrainingError
from evolcoder.train.packing import plan_steps
from evolcoder.train.settings import TrainSettings
from evolcoder.train.tokenization import TokenizedData


def check_before_loading(
    config: Any, tokenizer: Any, data: TokenizedData, settings: TrainSettings
) -> list[str]:
    """Return what a user should know of this training, a line each.

    Raises TrainingError where it could not run: rows longer than the model has positions, tokens that have no
    embedding, no step to take.
    """
    text = config.get_text_config(decoder=True)
    notes = []
    longest, positions = int(data.lengths.max()), getattr(text, "max_position_embeddings", None)
    if positions and longest > positions:
        if getattr(text, "rope_parameters", None) is None:
            raise TrainingError(
                f"the longest row has {longest:,} tokens, {config.model_type} has {positions:,} positions: "
                f"max_length: {positions} cuts it"
            )
        notes.append(
            f"the longest row has {longest:,} tokens, the model was trained for {positions:,}; it runs "
            f"at positions that the model has not met (max_length: {positions} cuts it)"
        )
    _check_tokens(text, tokenizer, data, settings)
    n_steps = count_steps(data, settings)
    warmup = shortened_warmup(settings, n_steps)
    if warmup < settings.warmup_steps:
        notes.append(
            f"warm-up: {warmup} of {n_steps} steps; warmup_steps {settings.warmup_steps} is more than half"
        )
    return notes


def count_steps(data: TokenizedData, settings: TrainSettings) -> int:
    """Return how many steps the training has; raises TrainingError where it has none."""
    n_steps = len(plan_steps(data.lengths, settings))
    if n_steps == 0:
        raise TrainingError(
            f"no step to take: epochs {settings.epochs:g} of {len(data)} rows is less than one row; "
            f"at least epochs {1 / len(data):.2g} is expected"
        )
    return n_steps


def shortened_warmup(settings: TrainSettings, n_steps: int) -> int:
    """Return the steps of warm-up: those asked for, never more than half of all."""
    return min(settings.warmup_steps, n_steps // 2)


def _check_tokens(text: Any, tokenizer: Any, data: TokenizedData, settings: TrainSettings) -> None:
    """Raise TrainingError for a token that the embedding has no row for."""
    n_embedded = int(text.vocab_size)
    if settings.special_tokens == "wizardcoder":
        n_embedded = max(n_embedded, len(tokenizer))  # the rule adds the rows that are missing
    largest = int(data.tokens.max())
    if largest >= n_embedded:
        name = tokenizer.convert_ids_to_tokens(largest)
        raise TrainingError(
            f"the data holds the token {name!r} ({largest}), the model has embeddings for {n_embedded:,}: "
            "the tokenizer is of another model, or tokens were added to it alone (special_tokens: wizardcoder"
            " gives these the mean embedding)"
        )
