"""Whether transformers' own loop, `generate`, answers with a model at all."""

from __future__ import annotations

from typing import Any

import torch

from evolcoder.errors import ModelError

FAILS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError)
"""What a model that does not fit raises when it is tried."""
_GENERATE_PROBE = 100
"""Tokens of the prompt that `generate` is tried with."""


def check_generate(model: Any, tokenizer: Any, why: str) -> None:
    """Raise ModelError where transformers' own loop fails, or answers one prompt in two ways.

    `why` says for what it is used. The prompt is longer than the pieces that a hashing attention takes.
    """
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    length = max(1, min(_GENERATE_PROBE, (positions or _GENERATE_PROBE + 4) - 4))
    text = [(37 * i * i + 11 * i + 5) % vocabulary for i in range(length)]
    prompt = torch.tensor([text], device=model.device)
    try:
        first, second = (
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                min_new_tokens=3,
                max_new_tokens=3,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                output_logits=True,
                return_dict_in_generate=True,
            ).logits
            for _ in range(2)
        )
    except (*FAILS, AssertionError) as error:
        told = f"fails with {told_of(error)}"
    else:
        if all(torch.allclose(a, b, atol=1e-2, rtol=1e-2) for a, b in zip(first, second, strict=True)):
            return
        told = "gives other probabilities the second time"
    raise ModelError(
        f"{type(model).__name__} cannot answer: transformers' generate {told}; written together, {why}"
    )


def told_of(error: Exception) -> str:
    """Return an error as part of a sentence."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
