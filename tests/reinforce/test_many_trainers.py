"""Several processes of torchrun learn from execution as one does, on CPUs with gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.reinforce.test_reinforce import facts_of, write_tasks
from tests.train.test_many_devices import with_two_processes

from evolcoder.reinforce.run import reinforce
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task, read_tasks

COMMON: dict[str, Any] = {"max_tokens": 24, "learning_rate": 1e-4, "eval_samples": 4, "eval_every": 2}
GRPO = {"steps": 4, "tasks_per_step": 4, "group_size": 4, "updates": 2, "kl": 0.01, "save_every": 1}
METHODS: dict[str, dict[str, Any]] = {
    "grpo": GRPO,
    "lora": {"steps": 2, "tasks_per_step": 4, "group_size": 4, "lora": 4},
    "rft": {"method": "rft", "rounds": 2, "group_size": 8, "epochs": 2},
    "dpo": {"method": "dpo", "group_size": 8, "epochs": 2, "tasks_per_step": 3},
}
TIMES = {"seconds", "seconds_sampling", "seconds_judging"}


def learnt(model: str, tasks: str, out: Path, settings: dict[str, Any]) -> None:
    """Let a model learn, in as many processes as call this."""
    found = read_tasks(tasks)
    reinforce(model, found, ReinforceSettings(**COMMON, **settings), out, held_out=found)


def two_learn(model: str, tasks: Path, out: Path) -> list[str]:
    """The command for two processes that learn by GRPO, killed and given again."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    changes = [f"--set={key}={value}" for key, value in {**COMMON, **GRPO}.items()]
    return [
        *(sys.executable, *torchrun, "-m", "evolcoder", "reinforce", "--model", model, "--json"),
        *("--tasks", str(tasks), "--held-out", str(tasks), "--out", str(out), "--decontaminate", "humaneval"),
        *changes,
    ]


def facts(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return told


def assert_same_weights(one: Path, two: Path) -> None:
    ours, theirs = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=0)


def answers_of(out: Path) -> list[tuple[str, str]]:
    files = sorted(out.with_name(f"{out.name}.rollouts").rglob("step-*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.open()]
    return [(row["task_id"], row["text"]) for row in rows]


def test_two_processes_learn_as_one(half_taught: str, tasks: list[Task], tmp_path: Path) -> None:
    data = str(write_tasks(tmp_path / "tasks.jsonl", tasks))
    base = load_file(Path(half_taught) / "model.safetensors")
    calls = ["from tests.reinforce.test_many_trainers import learnt"]
    for name, settings in METHODS.items():
        learnt(half_taught, data, tmp_path / "alone" / name, settings)
        out = tmp_path / "two" / name
        calls.append(f"learnt({half_taught!r}, {data!r}, Path({str(out)!r}), {settings!r})")
    done = with_two_processes("\n".join(calls), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in METHODS:
        alone, two = tmp_path / "alone" / name, tmp_path / "two" / name
        assert (facts(alone)["processes"], facts(two)["processes"]) == (1, 2)
        assert facts(two)["losses"] == pytest.approx(facts(alone)["losses"], abs=1e-5), name
        assert_same_weights(alone, two)
        moved = load_file(two / "model.safetensors")
        assert max(float((base[key] - moved[key]).abs().max()) for key in base) > 5e-5, "it has learnt"
    for name in ("grpo", "lora"):
        alone, two = tmp_path / "alone" / name, tmp_path / "two" / name
        for one, other in zip(facts_of(alone)["curve"], facts_of(two)["curve"], strict=True):  # type: ignore[call-overload]
            same = {key: one[key] for key in one.keys() - TIMES}
            assert {key: other[key] for key in same} == pytest.approx(same, abs=1e-4)
        assert facts_of(alone)["held_out"] == facts_of(two)["held_out"]
        assert answers_of(alone) == answers_of(two) != []


def test_two_killed_processes_go_on_and_sample_nothing_twice(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    data = write_tasks(tmp_path / "tasks.jsonl", tasks)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    learnt(half_taught, str(data), whole, GRPO)
    at_work = subprocess.Popen(
        two_learn(half_taught, data, killed),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while at_work.poll() is None and not (tmp_path / "killed.steps" / "step-00000002").exists():
        time.sleep(0.02)
    # torchrun's processes are sessions of their own: they go on without it.
    workers = Path(f"/proc/{at_work.pid}/task/{at_work.pid}/children").read_text().split()
    for pid in (at_work.pid, *map(int, workers)):
        os.kill(pid, signal.SIGKILL)
    at_work.wait()
    begun = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed.rollouts").rglob("step-*.jsonl")}
    assert begun and not killed.exists()
    done = subprocess.run(two_learn(half_taught, data, killed), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 1, "one process speaks for all"
    assert {path: path.stat().st_mtime_ns for path in begun} == begun, "nothing was sampled twice"
    assert facts(killed)["resumed_from_step"] >= 2
    assert_same_weights(whole, killed)


def test_a_mistake_ends_every_process_with_a_message(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    data = write_tasks(tmp_path / "tasks.jsonl", tasks)
    wrong = [json.loads(line) | {"solution": "def f(): return 9"} for line in data.open()]
    data.write_text("".join(json.dumps(row) + "\n" for row in wrong))
    arguments = two_learn(half_taught, data, tmp_path / "out")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no task is left to learn from" in done.stderr
