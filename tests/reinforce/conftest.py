"""A tiny model that half knows how to answer four tasks, and a cache of its own for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.train.one_thread import one_thread, own_cache, single_thread
from tests.train.tiny import save_tiny

from evolcoder.instructions import instruction_from_row
from evolcoder.records import Instruction, Lineage
from evolcoder.reinforce.tasks import Task, task_of_row

__all__ = ["half_taught", "one_thread", "own_cache", "tasks", "taught"]

RIGHT = 3
"""What every task wants; the model writes 1, 2, 3 and 4 alike."""


def task(number: int) -> Task:
    """A task whose answer is one line."""
    tests = [f"assert f() {what}" for what in (f"== {RIGHT}", f"> {RIGHT - 1}", f"< {RIGHT + 1}")]
    row = {"id": f"t{number}", "instruction": f"f gives {number}", "entry_point": "f", "tests": tests}
    found = task_of_row(instruction_from_row(row))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def tasks() -> list[Task]:
    """Four tasks."""
    return [task(number) for number in (1, 2, 3, 4)]


def taught(folder: Path, reply: str) -> str:
    """Return the path of a tiny llama that replies so to each task, with 1, 2, 3 or 4 for N."""
    import os

    from evolcoder.train import train
    from evolcoder.train.settings import TrainSettings

    os.environ.setdefault("EVOLCODER_CACHE", str(folder / "cache"))
    rows = [
        Instruction(f"{n}-{m}", f"f gives {n}", "", reply.replace("N", str(m)), Lineage(f"{n}"))
        for n in (1, 2, 3, 4)
        for m in (1, 2, 3, 4)
    ]
    settings = TrainSettings(
        max_steps=60, batch_size=16, learning_rate=1e-2, warmup_steps=2, dtype="fp32", tracking=()
    )
    with single_thread():
        train(save_tiny(folder / "base"), rows, settings, folder / "taught")
    return str(folder / "taught")


@pytest.fixture(scope="session")
def half_taught(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a tiny llama that writes `def f():return N`, but does not know which N is wanted."""
    return taught(tmp_path_factory.mktemp("half-taught"), "def f():return N")
