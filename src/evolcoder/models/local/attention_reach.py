"""How far back a model's layers look, and where its positions are scaled, by its configuration."""

from __future__ import annotations

from typing import Any

from evolcoder.errors import ModelError

LONGEST_PROBE = 300
"""Tokens; a window that is longer is not probed past its edge."""


def attention_windows(config: Any) -> dict[str, int | None]:
    """Return how far back each kind of layer looks; raises ModelError for layers without keys and values."""
    config = config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ModelError(f"it has layers of kind {', '.join(sorted(unknown))}")
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    if getattr(config, "layer_types", None) is None and window is not None:
        kinds = {"sliding_attention"}
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


def length_scaling(config: Any) -> tuple[str, int] | None:
    """Return a scaling of positions that follows the longest row, and the tokens from which it does.

    Beyond them rows that go through the model together change each other. None: there is no such scaling.
    """
    text = config.get_text_config(decoder=True)
    told = getattr(text, "rope_parameters", None) or {}
    for rope in (told, *(value for value in told.values() if isinstance(value, dict))):
        if rope.get("rope_type") == "dynamic":
            return "dynamic", int(text.max_position_embeddings)
        if rope.get("rope_type") == "longrope":
            trained = rope.get("original_max_position_embeddings")
            return "longrope", int(trained or text.max_position_embeddings)
    return None


def declared_reach(config: Any) -> int:
    """Return the longest window or chunk that the configuration names, of those that a probe spans."""
    values = config.get_text_config(decoder=True).to_dict()
    named = [
        value
        for name, value in values.items()
        if ("window" in name or "chunk" in name) and type(value) is int and 0 < value < LONGEST_PROBE
    ]
    return max(named, default=0)
