"""From requests to prompt tokens, and the stream of random numbers of each: the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evolcoder.errors import ModelError
from evolcoder.models.protocol import Request
from evolcoder.runs import content_hash


def prompt_tokens(tokenizer: Any, requests: Sequence[Request], ref: str) -> list[tuple[int, ...]]:
    """Return each request's tokens; equal prompts are tokenized once.

    Raises ModelError for a chat where the tokenizer of `ref` has no template.
    """
    known: dict[Any, tuple[int, ...]] = {}
    for request in requests:
        if request.prompt not in known:
            known[request.prompt] = _tokens(tokenizer, request, ref)
    return [known[request.prompt] for request in requests]


def _tokens(tokenizer: Any, request: Request, ref: str) -> tuple[int, ...]:
    if isinstance(request.prompt, str):
        text = request.prompt.encode("utf-8", "replace").decode()
        return tuple(tokenizer(text).input_ids) or _beginning(tokenizer)
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{ref}: its tokenizer has no chat template, so it cannot be asked in style 'chat'; "
            "use 'wizardcoder' or 'completion'"
        )
    messages = [{"role": m.role, "content": m.content} for m in request.prompt]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    # A template writes its own special tokens, so none is added.
    return tuple(tokenizer(rendered, add_special_tokens=False).input_ids)


def _beginning(tokenizer: Any) -> tuple[int, ...]:
    """Return what an empty prompt begins with."""
    token = tokenizer.bos_token_id
    return (tokenizer.eos_token_id if token is None else token,)


def noise_key(request: Request) -> int:
    """Return the 128-bit number that names a sample's own stream of random numbers."""
    prompt = (
        request.prompt if isinstance(request.prompt, str) else [[m.role, m.content] for m in request.prompt]
    )
    return int(content_hash("noise", prompt, request.sampling.seed, request.index), 16)
