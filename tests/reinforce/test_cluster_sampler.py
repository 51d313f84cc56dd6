"""grpo samples on a real Ray cluster as it does in its own process, with the weights of each step."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.execution.conftest import cluster, ray_engine

from evolcoder.errors import ModelError
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.models.local.identity import content_identity
from evolcoder.reinforce.run import reinforce
from evolcoder.reinforce.sampler import Asked, SamplingWork
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task

__all__ = ["cluster", "ray_engine"]

SETTINGS: dict[str, Any] = {
    "steps": 2,
    "tasks_per_step": 4,
    "group_size": 16,
    "max_tokens": 24,
    "learning_rate": 1e-3,
    "eval_every": 1,
}


def answers_of(out: Path) -> list[tuple[str, str, list[int]]]:
    files = sorted(out.with_name(f"{out.name}.rollouts").rglob("step-*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.open()]
    return [(row["task_id"], row["text"], row["tokens"]) for row in rows]


@pytest.mark.parametrize("further", [{}, {"lora": 4}], ids=["full", "lora"])
def test_a_cluster_samples_what_one_process_does(
    half_taught: str, tasks: list[Task], ray_engine: Engine, tmp_path: Path, further: dict[str, Any]
) -> None:
    settings = ReinforceSettings(**SETTINGS, **further)
    for name, engine in (("here", THIS_MACHINE), ("there", ray_engine)):
        reinforce(half_taught, tasks, settings, tmp_path / name, held_out=tasks, engine=engine)
    assert answers_of(tmp_path / "here") == answers_of(tmp_path / "there")
    assert len({text for _, text, _ in answers_of(tmp_path / "there")}) > 1
    here, there = (load_file(tmp_path / name / "model.safetensors") for name in ("here", "there"))
    for name, tensor in here.items():
        torch.testing.assert_close(tensor, there[name], atol=1e-5, rtol=0)
    told = json.loads((tmp_path / "there" / "training.json").read_text())["reinforce"]["curve"]
    assert all(step["largest_difference"] < 1e-3 for step in told), "of the weights of that very step"


@dataclass(frozen=True)
class Dying(SamplingWork):
    """Its first replica is killed when it is given a share."""

    mark: str = ""

    def open(self, slots: int) -> Any:
        replica, mark = super().open(slots), Path(self.mark)

        class Replica:
            def run_many(self, tagged: Iterable[tuple[int, Asked]], /) -> Iterator[tuple[int, Any]]:
                for item in tagged:
                    if not mark.exists():
                        mark.touch()
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield from replica.run_many([item])

            def close(self) -> None:
                replica.close()

        return Replica()


def test_a_replica_that_dies_loses_no_answer(half_taught: str, ray_engine: Engine, tmp_path: Path) -> None:
    settings, mark = ReinforceSettings(max_tokens=4), tmp_path / "died"
    work = Dying(half_taught, content_identity(half_taught), {}, 0, settings, str(mark))
    share = Asked(((5, 6, 7), (5, 6, 8)), 2, 1.0, ("a", "b"))
    with ray_engine.open(work) as pool:
        [(_, answers)] = pool.run_many([(0, share)])
    assert mark.exists()
    assert [len(group) for group in answers] == [2, 2]


def test_another_base_on_the_worker_is_refused(half_taught: str) -> None:
    work = SamplingWork(half_taught, "another", {}, 0, ReinforceSettings())
    with pytest.raises(ModelError, match="another model"):
        work.open(1)
