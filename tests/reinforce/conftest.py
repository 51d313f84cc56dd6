"""A tiny model that half knows how to answer four tasks, and a cache of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.train.tiny import save_tiny

from evolcoder.records import Instruction, Lineage
from evolcoder.reinforce.tasks import Task, task_from_mapping

RIGHT = 3
"""What every task wants; the model writes 1, 2, 3 and 4 alike."""


def task(number: int) -> Task:
    """A task whose answer is one line."""
    tests = [f"assert f() {what}" for what in (f"== {RIGHT}", f"> {RIGHT - 1}", f"< {RIGHT + 1}")]
    row = {"id": f"t{number}", "instruction": f"f gives {number}", "entry_point": "f", "tests": tests}
    found = task_from_mapping(row)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def tasks() -> list[Task]:
    """Four tasks."""
    return [task(number) for number in (1, 2, 3, 4)]


@pytest.fixture(scope="session")
def half_taught(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a tiny llama that writes `def f():return N`, but does not know which N is wanted."""
    import os

    import torch

    from evolcoder.train import train
    from evolcoder.train.settings import TrainSettings

    folder = tmp_path_factory.mktemp("half-taught")
    os.environ.setdefault("EVOLCODER_CACHE", str(folder / "cache"))
    rows = [
        Instruction(f"{n}-{m}", f"f gives {n}", "", f"def f():return {m}", Lineage(f"{n}"))
        for n in (1, 2, 3, 4)
        for m in (1, 2, 3, 4)
    ]
    settings = TrainSettings(
        max_steps=60, batch_size=16, learning_rate=1e-2, warmup_steps=2, dtype="fp32", tracking=()
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(save_tiny(folder / "base"), rows, settings, folder / "taught")
    torch.set_num_threads(threads)
    return str(folder / "taught")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and verdicts are cached under the test's own folder."""
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models this small lose more time to thread barriers than they gain."""
    import torch

    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
