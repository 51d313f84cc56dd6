"""The faster forms of a model's parts on a CPU, together: weights laid out, attention, whole layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evolcoder.models.local.llama_layers import take_llama_layers
from evolcoder.models.local.packed_weights import pack_linear_layers
from evolcoder.models.local.row_attention import use_row_attention


def use_fast_forms(model: Any, for_answers_alone: bool) -> Callable[[], None]:
    """Replace what can be replaced; return what undoes it.

    A model that is not there for answers alone is only given the attention: its weights change.
    """
    attention = model.config._attn_implementation
    replace_layers = take_llama_layers(model) if for_answers_alone else None
    unpack = pack_linear_layers(model) if for_answers_alone else lambda: None
    by_rows = use_row_attention(model)
    put_back = replace_layers() if replace_layers and by_rows else lambda: None

    def undo() -> None:
        put_back()
        unpack()
        if by_rows:
            model.set_attn_implementation(attention)

    return undo
