"""What a model is, by content: any byte of weights, adapter, tokenizer, template or config makes another."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from evolcoder.cache import kept_file_hash
from evolcoder.errors import ModelError
from evolcoder.models.local.weights import hub_file, locate_weights, refuse_hub_adapter, weight_files
from evolcoder.runs import content_hash

_READ_BY_A_MODEL = frozenset(
    (".safetensors", ".bin", ".pt", ".json", ".jinja", ".txt", ".model", ".tiktoken", ".py")
)
_SAYS_HOW_IT_WAS_MADE = "training.json"


def content_identity(ref: str) -> str:
    """Return 32 hex digits that name the content of the model behind `ref`; a hub name where it is one.

    A hub name is named with its commit; its small config is fetched for that where it is not here yet. Raises
    ModelError for an unknown `ref`, and for an adapter.
    """
    location = locate_weights(ref)
    if isinstance(location, str):
        refuse_hub_adapter(location)
        config = hub_file(location, "config.json")  # .../snapshots/COMMIT/config.json
        # Where there is none, loading says what is wrong with it.
        return location if config is None else f"{location}@{config.parent.name}"
    if location.is_file():
        return kept_file_hash(location)
    return content_hash([[name, kept_file_hash(location / name)] for name in _model_files(location)])


def _model_files(folder: Path) -> list[str]:
    """Return the names of the files that loading the folder may read; some may lie a folder deeper."""
    files = {*folder.iterdir(), *folder.glob("additional_chat_templates/*.jinja")}
    with suppress(ModelError):  # loading says what is wrong with its weights
        files.update(weight_files(folder))
    return sorted(
        str(p.relative_to(folder))
        for p in files
        if p.suffix in _READ_BY_A_MODEL and p.name != _SAYS_HOW_IT_WAS_MADE and p.is_file()
    )
