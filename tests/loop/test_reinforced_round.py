"""`reinforce:` in a recipe: each round's fine-tuned model learns further and becomes the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.loop.conftest import Notes, new_task, taught_by, teacher

from evolcoder.errors import UserError
from evolcoder.loop import plan_recipe, run_recipe
from evolcoder.loop.ablation import ablate
from evolcoder.loop.ablation_arms import Question
from evolcoder.recipe import Recipe


def test_a_rounds_checkpoint_is_the_model_that_learnt_from_execution(
    small: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    tasks = tmp_path / "tasks.jsonl"
    rows = [
        {"id": f"t{n}", "instruction": f"f({n})", "entry_point": "f", "tests": [f"assert f({n}) == {n}"]}
        for n in (1, 2)
    ]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"steps": 1, "tasks_per_step": 1, "group_size": 2, "max_tokens": 8, "refill": 0}
    section = {"tasks": str(tasks), "settings": {**settings, "prompt_style": "chat"}}
    run = tmp_path / "run"
    with teacher(new_task) as server:
        recipe = taught_by(small, server, reinforce=section)
        planned = [item.stage.id for item in plan_recipe(recipe, run).stages]
        assert planned[2:5] == ["evolve:1", "train:1", "reinforce:1"]
        run_recipe(recipe, run, Notes(), "evolcoder run x")
        assert {item.state for item in plan_recipe(recipe, run).stages} == {"done"}
    facts = json.loads((run / "round-1" / "checkpoint" / "training.json").read_text())
    assert facts["base"] == str(run / "round-1" / "fine-tuned")
    assert facts["reinforce"]["curve"][0]["answers"] == 2
    tasks.write_text("".join(json.dumps({**row, "instruction": "g"}) + "\n" for row in rows))
    states = {item.stage.id: item.state for item in plan_recipe(recipe, run).stages}
    assert states["reinforce:1"] == "again" and states["train:1"] == "done"


def test_an_ablation_says_that_it_does_not_reinforce(small: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = small(reinforce={"settings": {"prompt_style": "chat"}})
    with pytest.raises(UserError, match="take `reinforce` out"):
        ablate(recipe, tmp_path, Question(("rounds",)), Notes(), "x")
