"""A whole loop on a tiny model, and a listener that keeps what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.models.byte_llama import save_tiny_model

from evolcoder.progress import SilentProgress, StageLine
from evolcoder.recipe import Recipe, recipe_from_data


class Notes(SilentProgress):
    """Keeps what is said, and the stages as they were last shown."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[StageLine] = []

    def note(self, line: str) -> None:
        self.said.append(line)

    def stages(self, lines: Any) -> None:
        self.shown = list(lines) or self.shown


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """Recipes of a whole loop on a tiny model, which teaches itself."""
    model = str(save_tiny_model(tmp_path_factory.mktemp("model"), max_position_embeddings=4096))

    def recipe(**changes: Any) -> Recipe:
        data: dict[str, Any] = {
            "name": "small",
            "seeds": {"source": "shipped", "limit": 12},
            "teacher": {"model": model, "local": {"dtype": "fp32"}},
            "base": {"model": model},
            "rounds": {"max_rounds": 1, "rows_per_round": 4},
            "evolve": {"max_tokens": 24, "instruction_max_tokens": 24, "keep_truncated": True},
            "train": {
                "max_steps": 2,
                "batch_size": 4,
                "max_length": 512,
                "dtype": "fp32",
                "tracking": [],
                "prompt_style": "chat",
            },
            "evaluate": {
                "settings": {"style": "chat", "limit": 2, "max_tokens": 8},
                "local": {"dtype": "fp32"},
            },
            "stop": {"rule": "paper-v1"},
        }
        for key, value in changes.items():
            data[key] = {**data.get(key, {}), **value}
        return recipe_from_data(data, "test")

    return recipe
