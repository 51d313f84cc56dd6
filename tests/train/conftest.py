"""A tiny model folder, and a cache of its own for every test."""

from __future__ import annotations

import pytest
from tests.train.one_thread import one_thread, own_cache
from tests.train.tiny import save_tiny

__all__ = ["one_thread", "own_cache", "tiny"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a tiny llama."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))
