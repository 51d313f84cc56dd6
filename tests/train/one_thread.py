"""What tests with small models need: a cache of their own, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def single_thread() -> Iterator[None]:
    """Models this small lose more time to thread barriers than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and verdicts are cached under the test's own folder."""
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process, and those that it begins, compute with one thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with single_thread():
        yield
