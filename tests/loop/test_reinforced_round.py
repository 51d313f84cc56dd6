"""`reinforce:` in a recipe: each round's fine-tuned model learns further, or the kept one at last."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.loop.conftest import Notes, new_task, taught_by, teacher
from tests.loop.simulation import InMemory

from evolcoder.errors import BudgetExhaustedError, RecipeError, UserError
from evolcoder.loop import plan_recipe, run_recipe
from evolcoder.loop.ablation import ablate
from evolcoder.loop.ablation_arms import Question
from evolcoder.loop.wizardcoder import wizardcoder
from evolcoder.recipe import Budget, Recipe, Reinforcement, Rounds, StopRule
from evolcoder.records import REINFORCED_ROUND
from evolcoder.reinforce.reward import Rewarder
from evolcoder.report.publishing import what_to_publish
from evolcoder.report.run_folder import read_run
from evolcoder.report.table import scores_table


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A section `reinforce` of two tasks, a step of which takes a moment."""
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    rows = [
        {"id": f"t{n}", "instruction": f"f({n})", "entry_point": "f", "tests": [f"assert f({n}) == {n}"]}
        for n in (1, 2)
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"steps": 1, "tasks_per_step": 1, "group_size": 2, "max_tokens": 8, "refill": 0}
    return {"tasks": str(tmp_path / "tasks.jsonl"), "settings": {**settings, "prompt_style": "chat"}}


def states(recipe: Recipe, run: Path) -> dict[str, str]:
    return {item.stage.id: item.state for item in plan_recipe(recipe, run).stages}


def learnt_from(run: Path, number: str) -> Any:
    return json.loads((run / f"round-{number}" / "checkpoint" / "training.json").read_text())["base"]


def test_a_rounds_checkpoint_is_the_model_that_learnt_from_execution(
    small: Callable[..., Recipe], section: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with teacher(new_task) as server:
        recipe = taught_by(small, server, reinforce=section)
        assert list(states(recipe, run))[2:5] == ["evolve:1", "train:1", "reinforce:1"]
        run_recipe(recipe, run, Notes(), "evolcoder run x")
        assert set(states(recipe, run).values()) == {"done"}
        facts = json.loads((run / "round-1" / "checkpoint" / "training.json").read_text())
        assert facts["base"] == str(run / "round-1" / "fine-tuned")
        assert facts["reinforce"]["curve"][0]["answers"] == 2
        tasks = Path(section["tasks"])
        before = tasks.read_text()
        tasks.write_text(before.replace("== 2", "== 3"))
        changed = states(recipe, run)
        assert changed["reinforce:1"] == "again" and changed["train:1"] == "done"
        tasks.write_text(before)
        # Without the section, what lies in checkpoint/ is not the fine-tuned model.
        plain = taught_by(small, server)
        assert states(plain, run)["train:1"] == "again"
        run_recipe(plain, run, Notes(), "evolcoder run x")
    assert learnt_from(run, "1") == plain.base.model


def one_round(small: Callable[..., Recipe], server: Any, section: dict[str, Any], keep: Any) -> Recipe:
    recipe = taught_by(small, server, reinforce={**section, "when": "last"}, rounds={"max_rounds": 1})
    return replace(recipe, stop=replace(recipe.stop, keep=keep))


def test_the_kept_model_learns_after_the_rounds_and_is_measured_and_shown(
    small: Callable[..., Recipe], section: dict[str, Any], tmp_path: Path
) -> None:
    run, notes = tmp_path / "run", Notes()
    with teacher(new_task) as server:
        recipe = one_round(small, server, section, "last")
        planned = list(states(recipe, run))
        assert planned[-2:] == ["reinforce:last", "evaluate:last:humaneval"] and "reinforce:1" not in planned
        result = run_recipe(recipe, run, notes, "evolcoder run x")
        assert set(states(recipe, run).values()) == {"done"}
        further = states(replace(recipe, rounds=replace(recipe.rounds, max_rounds=2)), run)
        assert further["evaluate:2:humaneval"] == "to do"
        assert further["reinforce:last"] == "perhaps again", "round 2 may be the one that is kept"
        ablate(recipe, run, Question(("seeds-only",)), notes, "x")
    assert notes.shown[-1].state == "kept", "the ablation takes the run's own model of round 1"
    assert [entry["round"] for entry in result["rounds"]] == [0, 1, REINFORCED_ROUND]
    assert [entry["rows"] for entry in result["rounds"]] == [0, 16, 16]
    assert result["best_round"] == REINFORCED_ROUND
    assert (run / "best").resolve() == (run / "round-reinforced" / "checkpoint").resolve()
    assert learnt_from(run, "reinforced") == str(run / "round-1" / "checkpoint")
    assert not (run / "round-1" / "fine-tuned").exists()
    assert "reinforced *" in scores_table(result)
    assert [round_.number for round_ in read_run(run).rounds] == [0, 1, REINFORCED_ROUND]
    report = (run / "report.html").read_text()
    assert report.index(">round 1</td>") < report.index(">reinforced · best</td>")
    assert "<dt>rounds</dt><dd>1</dd>" in report and 'id="reinforce"' in report
    model, dataset = what_to_publish(run, "me/m", "me/d")
    assert str(run / "round-reinforced" / "checkpoint" / "config.json") in {str(f.path) for f in model.files}
    assert str(run / "round-1" / "dataset.jsonl") in {str(file.path) for file in dataset.files}
    card = (run / "cards" / "model" / "README.md").read_text()
    assert "that 1 round of Code Evol-Instruct" in card and "whether its own programs pass tests" in card
    assert "| tasks | 2 |" in card and "| answers to a task | 2 |" in card
    card = (run / "round-reinforced" / "checkpoint" / "README.md").read_text()
    assert "whether its own answers to 2 tasks pass their tests" in card


def test_it_goes_on_after_a_kill_and_is_not_kept_where_it_is_no_better(
    small: Callable[..., Recipe], section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section["settings"] |= {"steps": 3, "save_every": 1}
    asked: list[int] = []
    judge = Rewarder.rewards

    def killed_in_the_second_step(rewarder: Rewarder, answers: Any) -> Any:
        asked.append(len(answers))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return judge(rewarder, answers)

    def weights(run: Path) -> bytes:
        return (run / "round-reinforced" / "checkpoint" / "model.safetensors").read_bytes()

    with teacher(new_task) as server:
        recipe = one_round(small, server, section, "best")
        plain = run_recipe(recipe, tmp_path / "plain", Notes(), "x")
        monkeypatch.setattr(Rewarder, "rewards", killed_in_the_second_step)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, tmp_path / "run", Notes(), "x")
        there = states(recipe, tmp_path / "run")
        assert [id_ for id_, state in there.items() if state != "done"] == [
            "reinforce:last",
            "evaluate:last:humaneval",
        ]
        result = run_recipe(recipe, tmp_path / "run", Notes(), "x")
    assert len(asked) == 4, "the first step is not done again"
    assert weights(tmp_path / "run") == weights(tmp_path / "plain")
    assert result == {**plain, "environment": result["environment"]}
    # A tiny model solves nothing, before or after: of equals the earliest is kept, and that is what learnt.
    assert result["best_round"] == 0 and not (tmp_path / "run" / "best").exists()
    assert learnt_from(tmp_path / "run", "reinforced") == recipe.base.model


class Learning(InMemory):
    """The simulation's last entry is what the kept model comes to once it has learnt."""

    learnt: int | None = None

    def reinforce_kept(self, kept: int, how: Reinforcement) -> None:
        if not self.passed[-1]:
            raise BudgetExhaustedError("no time")
        self.learnt = kept

    def measure(self, number: int) -> Any:
        return replace(super().measure(-1 if number == REINFORCED_ROUND else number), round=number)


@pytest.mark.parametrize(
    ("passed", "learnt", "best", "said"),
    [
        ([5, 9, 7, 11], 1, REINFORCED_ROUND, "round 2 scored"),
        ([5, 9, 7, 9], 1, 1, "round 2 scored"),
        ([5, 9, 7, 8], 1, 1, "round 2 scored"),
        ([9, 8, 10], 0, REINFORCED_ROUND, "round 1 scored"),
        ([5, 9, 7, 0], None, 1, "round 2 scored 35.0%, below round 1 with 45.0%; the budget ended before"),
    ],
    ids=["better", "equal", "worse", "from the base model", "out of time"],
)
def test_the_kept_model_learns_and_stays_unless_it_got_better(
    passed: list[int], learnt: int | None, best: int, said: str
) -> None:
    work = Learning([[i < n for i in range(20)] if n else [] for n in passed])
    rounds = Rounds(len(passed) - 2)
    last = Reinforcement(when="last")
    found = wizardcoder(work, StopRule(), rounds, Budget(), last)  # type: ignore[arg-type]
    assert work.learnt == learnt
    assert found.best is not None and found.best.round == best
    assert (found.history[-1].round == REINFORCED_ROUND) == (learnt is not None)
    assert found.decisions[-1].reason.startswith(said)


def test_a_recipe_that_names_another_moment_is_refused(small: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"reinforce\.when: .*'each_round' or 'last'"):
        small(reinforce={"when": "first"})


def test_an_ablation_says_that_it_does_not_reinforce(small: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = small(reinforce={"settings": {"prompt_style": "chat"}})
    with pytest.raises(UserError, match="take `reinforce` out"):
        ablate(recipe, tmp_path, Question(("rounds",)), Notes(), "x")


def test_tasks_that_are_not_there_or_lack_a_factor_are_told_before_the_first_stage(
    small: Callable[..., Recipe], tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('{"instruction": "f", "entry_point": "f", "tests": ["assert f(1) == 1"]}\n')
    settings = {"prompt_style": "chat", "reward": {"factors": ["process_reward"]}}
    for section, told in (
        ({"tasks": "gone.jsonl"}, "gone.jsonl: no such file"),
        ({"tasks": str(tasks), "held_out": "gone.jsonl"}, "gone.jsonl: no such file"),
        ({"tasks": str(tasks), "settings": settings}, "no task has a number .* 'process_reward'"),
    ):
        recipe = small(reinforce={"settings": {"prompt_style": "chat"}, **section})
        with pytest.raises(UserError, match=told):
            plan_recipe(recipe, tmp_path / "run")
