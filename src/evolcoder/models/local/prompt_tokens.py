"""From requests to prompt tokens, and the stream of random numbers of each: the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evolcoder.errors import ModelError
from evolcoder.models.local.weights import check_weights, load_config, load_tokenizer, locate_weights
from evolcoder.models.protocol import Request
from evolcoder.runs import content_hash


def prompt_tokens(tokenizer: Any, requests: Sequence[Request], ref: str) -> list[tuple[int, ...]]:
    """Return each request's tokens, of equal prompts once; raises ModelError for a chat with no template."""
    known: dict[Any, tuple[int, ...]] = {}
    for request in requests:
        if request.prompt not in known:
            known[request.prompt] = _tokens(tokenizer, request, ref)
    return [known[request.prompt] for request in requests]


def _tokens(tokenizer: Any, request: Request, ref: str) -> tuple[int, ...]:
    if isinstance(request.prompt, str):
        begins = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        return tuple(tokenizer(encodable(request.prompt)).input_ids) or (begins,)
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{ref}: its tokenizer has no chat template, so it cannot be asked in style 'chat'; "
            "use 'wizardcoder' or 'completion'"
        )
    messages = [{"role": m.role, "content": encodable(m.content)} for m in request.prompt]
    try:
        rendered = rendered_chat(tokenizer, messages, asks=True)
    except ValueError as error:
        raise ModelError(f"{ref}: {error}") from error
    # A template writes its own special tokens, so none is added.
    return tuple(tokenizer(rendered, add_special_tokens=False).input_ids)


def rendered_chat(tokenizer: Any, messages: list[dict[str, str]], asks: bool = False) -> str:
    """Return a chat in the tokenizer's template (`asks`: for an answer); raises ValueError if it fails."""
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
    except Exception as error:  # a template is a program of the model's: it fails in any way
        roles = ", ".join(message["role"] for message in messages)
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"the chat template does not take a chat of {roles} ({reason})") from error
    return text


def encodable(text: str) -> str:
    """Return `text` with "?" for halves of a character, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """What a model takes as a prompt, known without its weights."""

    ref: str
    tokenizer: Any
    context_tokens: int

    def count(self, request: Request) -> int:
        """Return a request's tokens; raises ModelError where the tokenizer or its template refuses it."""
        return len(_tokens(self.tokenizer, request, self.ref))


def prompt_limits(ref: str) -> PromptLimits:
    """Read what `ref` takes from its configuration and tokenizer; raises ModelError where it cannot load."""
    check_weights(locate_weights(ref))
    text = load_config(ref).get_text_config(decoder=True)
    positions = getattr(text, "max_position_embeddings", None) or 1 << 30
    return PromptLimits(ref, load_tokenizer(ref), positions)


def noise_key(request: Request) -> int:
    """Return the 128-bit number that names a sample's own stream of random numbers."""
    return int(content_hash("noise", request.plain_prompt, request.sampling.seed, request.index), 16)
