"""`rounds.train_seeds`: the model of the seeds alone is a stage of the loop, and stands in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.loop.conftest import Notes, new_task, taught_by, teacher

from evolcoder.loop import plan_recipe, run_recipe
from evolcoder.loop.ablation import ablate
from evolcoder.loop.ablation_arms import Question
from evolcoder.loop.results import point_to_best
from evolcoder.recipe import Recipe, load_recipe
from evolcoder.records import SEEDS_ROUND
from evolcoder.report.publishing import what_to_publish
from evolcoder.report.table import scores_table
from evolcoder.runs import write_json_whole


def test_base_seeds_and_rounds_are_trained_measured_and_shown(
    small: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    run = tmp_path / "run"
    with teacher(new_task) as server:
        rounds = {"max_rounds": 1, "rows_per_round": 4, "train_seeds": True}
        recipe = taught_by(small, server, rounds=rounds)
        planned = [item.stage.id for item in plan_recipe(recipe, run).stages]
        assert planned[:5] == [
            "seeds",
            "evaluate:0:humaneval",
            "train:seeds",
            "evaluate:seeds:humaneval",
            "evolve:1",
        ]
        result = run_recipe(recipe, run, Notes(), "evolcoder run x")
        assert {item.state for item in plan_recipe(recipe, run).stages} == {"done"}
        notes = Notes()
        ablate(recipe, run, Question(("seeds-only",)), notes, "x")
    assert [entry["round"] for entry in result["rounds"]] == [0, -1, 1]
    assert [entry["rows"] for entry in result["rounds"]] == [0, 12, 16]
    assert {line.state for line in notes.shown} == {"kept"}, "the ablation takes the run's own models"
    assert not list(run.glob("ablation/arms/*"))
    assert (run / "round-seeds" / "checkpoint" / "config.json").exists()
    names = [line.split()[0] for line in scores_table(result).splitlines()[3:6]]
    assert names == ["base", "seeds", "round"]
    report = (run / "report.html").read_text()
    assert report.index(">seeds</td>") < report.index(">round 1</td>")
    assert "<dt>rounds</dt><dd>1</dd>" in report
    # Where the seeds' model is the best one, that is what is linked, described and published.
    write_json_whole(run / "result.json", {**result, "best_round": SEEDS_ROUND})
    point_to_best(run, SEEDS_ROUND)
    assert (run / "best").resolve() == (run / "round-seeds" / "checkpoint").resolve()
    model, dataset = what_to_publish(run, "me/m", "me/d")
    assert {"config.json", "README.md"} <= {file.name for file in model.files}
    assert [str(file.path) for file in dataset.files if file.name == "dataset.jsonl"] == [
        str(run / "seeds.jsonl")
    ]
    assert "12 coding instructions with answers" in (run / "cards" / "dataset" / "README.md").read_text()


def test_it_is_the_default_of_the_papers_first_rule_but_not_of_a_run_that_began_without(
    small: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = small(rounds={"train_seeds": None})
    assert recipe.stop.rule == "paper-v1"
    assert "train:seeds" in {item.stage.id for item in plan_recipe(recipe, tmp_path / "new").stages}
    begun = tmp_path / "begun"
    (begun / "stages").mkdir(parents=True)
    (begun / "recipe.yaml").write_text(yaml.safe_dump({"rounds": {"max_rounds": 1}}))
    assert "train:seeds" not in {item.stage.id for item in plan_recipe(recipe, begun).stages}
    assert load_recipe(Path("paper")).rounds.train_seeds is True
    assert json.dumps(load_recipe(Path("quickstart")).rounds.train_seeds) == "false"
