"""A recipe whose seeds and deciding benchmark are made of a code base."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.code_base.growing_shop import calls, make_shop
from tests.loop.conftest import Notes, taught_by, teacher

from evolcoder.errors import DataError, RecipeError, UserError
from evolcoder.loop import plan_recipe, run_recipe
from evolcoder.loop.ablation import ablate
from evolcoder.loop.ablation_arms import Question
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.recipe import Recipe, load_recipe, recipe_from_data

PRICED = EndpointSettings(usd_per_million_input=1.0, usd_per_million_output=2.0)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_shop(tmp_path)


def test_seeds_and_the_private_benchmark_are_made_once_and_decide_the_run(
    small: Callable[..., Recipe], shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    run = tmp_path / "run"
    with teacher(calls) as server:
        recipe = taught_by(
            small,
            server,
            seeds={"limit": 6},
            evaluate={"benchmarks": [], "settings": {"style": "chat", "max_tokens": 8, "limit": 2}},
            rounds={"max_rounds": 1, "rows_per_round": 4, "train_seeds": False},
        )
        stop = replace(recipe.stop, benchmark="code")
        recipe = replace(recipe, code=str(shop), seeds=replace(recipe.seeds, source="code"), stop=stop)
        before = plan_recipe(replace(recipe, teacher=replace(recipe.teacher, endpoint=PRICED)), run)
        assert [item.stage.id for item in before.stages][:5] == [
            *("seeds-from:code", "benchmark-from:code", "seeds", "evaluate:0:code", "evolve:1")
        ]
        assert {item.state for item in before.stages} == {"to do"}
        expected = [before.costs[item.stage.id] for item in before.stages[:2]]
        assert all(cost.usd and cost.usd > 0 for cost in expected)
        assert not server.bodies and not run.exists(), "a plan asks nothing and writes nothing"
        assert "--dry-run" in before.notice and before.designs["the private benchmark (at most)"].problems
        result = run_recipe(recipe, run, Notes(), "evolcoder run x")
        asked = len(server.bodies)
        seeds_made = json.loads((run / "code" / "seeds.summary.json").read_text())["seeds"]
        assert expected[0].requests == 3 * seeds_made["asked"], "without tests"
        (shop / "prices.py").write_text("")
        run_recipe(recipe, run, Notes(), "evolcoder run x")
        assert len(server.bodies) == asked, "a run keeps the code that it began with"
        assert {item.state for item in plan_recipe(recipe, run).stages} == {"done"}
        with pytest.raises(RecipeError, match="another --dir"):
            run_recipe(replace(recipe, code=str(tmp_path)), run, Notes(), "x")
        with pytest.raises(UserError, match="make those of `code` first"):
            ablate(recipe, run, Question(("seeds-only",)), Notes(), "x")
    assert [entry["round"] for entry in result["rounds"]] == [0, 1]
    seeds = [json.loads(line) for line in (run / "seeds.jsonl").read_text().splitlines()]
    assert seeds and {row["repository"] for row in seeds} == {"shop"}
    benchmark = run / "code" / "benchmark" / "problems.jsonl"
    problems = [json.loads(line)["entry_point"] for line in benchmark.read_text().splitlines()]
    summary = json.loads((benchmark.parent / "summary.json").read_text())
    assert summary["code"]["files"] == 13
    assert problems and not any(name in row["instruction"] for name in problems for row in seeds)
    assert (run / "round-1" / "evaluation" / "private_benchmark" / "scores.json").exists()


def test_a_code_base_without_a_function_for_the_benchmark_is_told_before_anything_is_asked(
    small: Callable[..., Recipe], shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    for file in shop.glob("*.py"):
        file.write_text(re.sub(r'^ +""".*"""$', "", file.read_text(), flags=re.MULTILINE))
    with teacher(calls) as server:
        recipe = taught_by(small, server, evaluate={"benchmarks": [], "settings": {"style": "chat"}})
        stop = replace(recipe.stop, benchmark="code")
        recipe = replace(recipe, code=str(shop), seeds=replace(recipe.seeds, source="code"), stop=stop)
        for act in (plan_recipe, lambda *told: run_recipe(*told, Notes(), "x")):
            with pytest.raises(DataError, match=r"no function of shop can be a problem"):
                act(recipe, tmp_path / "run")
        assert not server.bodies
    assert load_recipe(tmp_path / "run" / "recipe.yaml").takes_code, "what the app continues it by"


def test_a_recipe_of_code_needs_a_code_base() -> None:
    assert load_recipe(Path("own-code"), ["code=/a/b"]).code == "/a/b"
    with pytest.raises(RecipeError, match="needs code"):
        recipe_from_data({"name": "x", "seeds": {"source": "code"}}, "test")


def test_an_address_with_a_password_stays_out_of_the_files_of_a_run() -> None:
    with pytest.raises(RecipeError, match="user or password") as raised:
        load_recipe(Path("own-code"), ["code=https://me:hunter2@example.com/a.git"])
    assert "hunter2" not in str(raised.value)
    assert load_recipe(Path("own-code"), ["code=ssh://git@example.com/a.git"]).code
