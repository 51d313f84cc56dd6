"""A model learns from the verdicts on its own answers: through the command line and the Python door."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.train.test_training import Notes

from evolcoder.errors import DataError
from evolcoder.models.local import engine
from evolcoder.reinforce.run import reinforce, told_apart
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task

SMALL = ReinforceSettings(
    steps=12,
    tasks_per_step=4,
    group_size=8,
    max_tokens=24,
    learning_rate=1e-3,
    eval_every=12,
    eval_samples=8,
    save_every=2,
)


def facts_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "training.json").read_text())["reinforce"]
    return found


def write_tasks(path: Path, tasks: list[Task]) -> Path:
    lines = [
        {
            "id": t.id,
            "instruction": t.instruction,
            "entry_point": "f",
            "tests": ["assert f() == 3"] * 2,
        }
        for t in tasks
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_grpo_raises_the_share_of_answers_that_pass(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    result = reinforce(half_taught, tasks, SMALL, tmp_path / "out", held_out=tasks)
    facts = facts_of(result.folder)
    before, after = facts["held_out"][0]["solved"], facts["held_out"][-1]["solved"]
    assert before < 0.6 and after > before + 0.2, (before, after)
    for step in facts["curve"]:
        assert step["sampler_difference"] < 1e-4, "sampler and trainer are the same weights"
        assert step["answers"] >= 32 and step["entropy"] > 0
        assert step["gap"] == pytest.approx(step["passed"] - step["watched"])
    assert len(list((tmp_path / "out.rollouts").rglob("step-*.jsonl"))) >= 12
    again = reinforce(half_taught, tasks, SMALL, tmp_path / "out", held_out=tasks)
    assert again.losses == result.losses, "a finished run is returned as it is"


def test_a_run_near_its_base_follows_the_number_format_of_the_machine(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    one = replace(SMALL, steps=1, kl=0.01, dtype="auto", eval_samples=1)
    assert reinforce(half_taught, tasks, one, tmp_path / "out").losses


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    data = write_tasks(tmp_path / "tasks.jsonl", tasks)

    def command(out: Path) -> list[str]:
        told = {
            "steps": 6, "tasks_per_step": 2, "max_tokens": 24, "learning_rate": 1e-3, "save_every": 2,
            "updates": 2, "kl": 0.01,
        }  # fmt: skip
        changes = [f"--set={key}={value}" for key, value in told.items()]
        head = [sys.executable, "-m", "evolcoder", "reinforce", "--model", half_taught, "--tasks", str(data)]
        return [*head, "--out", str(out), "--group-size", "4", *changes, "--decontaminate", "humaneval"]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(tmp_path / "whole"), check=True, env=environment, capture_output=True)
    killed = subprocess.Popen(
        command(tmp_path / "killed"), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    rollouts = tmp_path / "killed.rollouts"
    while killed.poll() is None and len(list(rollouts.rglob("step-*.jsonl"))) < 4:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    begun = {path: path.stat().st_mtime_ns for path in rollouts.rglob("step-*.jsonl")}
    subprocess.run(command(tmp_path / "killed"), check=True, env=environment, capture_output=True)

    def digest(folder: Path) -> str:
        return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    assert digest(tmp_path / "whole") == digest(tmp_path / "killed")
    assert {path: path.stat().st_mtime_ns for path in begun} == begun, "nothing was sampled twice"
    sampled = [
        sorted(p.read_bytes() for p in (tmp_path / f"{n}.rollouts").rglob("step-*"))
        for n in ("whole", "killed")
    ]
    assert sampled[0] == sampled[1]
    assert not (tmp_path / "killed.steps").exists(), "checkpoints are gone once the model stands"


@pytest.mark.parametrize("method", ["rft", "dpo"])
def test_rejection_sampling_and_preference_learn_from_distinct_answers(
    method: str, half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    settings = ReinforceSettings(
        method=method,  # type: ignore[arg-type]
        rounds=2,
        group_size=16,
        max_tokens=24,
        learning_rate=1e-3,
        epochs=6,
        tasks_per_step=4,
    )
    result = reinforce(half_taught, tasks, settings, tmp_path / "out")
    assert (result.folder / "model.safetensors").exists()
    if method == "rft":
        rounds = json.loads((tmp_path / "out.rollouts" / "rounds.json").read_text())
        assert rounds[1]["passed"] > rounds[0]["passed"]
        rows = [json.loads(line) for line in (tmp_path / "out.rollouts" / "round-2.jsonl").open()]
        assert len({(row["instruction"], row["response"]) for row in rows}) == len(rows)
    else:
        assert result.losses[-1] < result.losses[0] == pytest.approx(0.6931, abs=1e-3)
        pairs = [json.loads(line) for line in (tmp_path / "out.rollouts" / "pairs.jsonl").open()]
        assert pairs and all(pair["chosen"] != pair["rejected"] for pair in pairs)


def test_tasks_that_copy_a_benchmark_or_fail_their_own_tests_are_left_out(
    half_taught: str, tmp_path: Path, data_folder: Path
) -> None:
    from evolcoder.evaluate.benchmarks import load_benchmark
    from evolcoder.instructions import instruction_from_row
    from evolcoder.reinforce.tasks import task_of_row

    problem = load_benchmark("humaneval").problems[0]
    copies = {
        "instruction": problem.prompt,
        "entry_point": problem.entry_point,
        "tests": ["assert has_close_elements([1.0], 1) == False"],
    }
    fails = {"instruction": "f gives 9", "solution": "def f():\n    return 8", "tests": ["assert f() == 9"]}
    copied, wrong = (task_of_row(instruction_from_row(row)) for row in (copies, fails))
    assert copied is not None and wrong is not None
    with pytest.raises(DataError, match="no task is left"):
        reinforce(half_taught, [copied, wrong], SMALL, tmp_path / "out", decontaminate=("humaneval",))


def test_bf16_on_a_cpu_that_does_not_multiply_it_is_said_to_be_slow(
    half_taught: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for multiplies, dtype, said in ((False, "bf16", True), (True, "bf16", False), (False, "fp32", False)):
        monkeypatch.setattr(engine, "cpu_multiplies_bf16", lambda fast=multiplies: fast)
        notes = Notes()
        with pytest.raises(DataError, match="no task is left"):
            reinforce(half_taught, [], ReinforceSettings(dtype=dtype), tmp_path / "out", progress=notes)  # type: ignore[arg-type]
        assert any("does not multiply bf16" in line for line in notes.lines) == said


def test_where_nothing_can_be_learnt_it_is_said_what_came_of_the_answers(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    cut = ReinforceSettings(method="rft", group_size=4, max_tokens=3)
    with pytest.raises(DataError, match=r"none of 16 answers to 4 tasks passes \(16 cut at max_tokens\)"):
        reinforce(half_taught, tasks, cut, tmp_path / "rft")
    with pytest.raises(DataError, match=r"one that fails \(16 cut at max_tokens\)"):
        reinforce(half_taught, tasks, replace(cut, method="dpo"), tmp_path / "dpo")


def test_held_out_tasks_that_are_named_as_others_keep_their_own_words(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    """Two files that number their rows name different tasks alike."""
    others = [replace(task, instruction=f"g gives {task.id}") for task in tasks]
    notes = Notes()
    short = replace(SMALL, steps=1, eval_samples=1)
    reinforce(half_taught, tasks, short, tmp_path / "out", held_out=[*others, tasks[0]], progress=notes)
    assert "1 of 5 held-out tasks are learnt from too: they measure memory" in notes.lines
    assert told_apart(tasks, others, notes) == [replace(task, id=f"held-out-{task.id}") for task in others]


def test_a_run_whose_answers_all_earn_the_same_says_that_nothing_was_learnt(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    never = [replace(task, tests=(replace(task.tests[0], code="raise SystemExit"),)) for task in tasks]  # type: ignore[type-var]
    notes = Notes()
    reinforce(half_taught, never, replace(SMALL, steps=1), tmp_path / "out", progress=notes)
    (line,) = [line for line in notes.lines if line.startswith("nothing was learnt")]
    assert "in 1 steps" in line and "(0% solved, " in line
    notes = Notes()
    reinforce(half_taught, tasks, replace(SMALL, steps=1), tmp_path / "other", progress=notes)
    assert not any("nothing was learnt" in line for line in notes.lines)
