"""Which stages are done, done again, or left: by what they were made from, and by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.loop.conftest import Notes

from evolcoder.cli.run import plan_data, plan_text
from evolcoder.errors import DataError, UserError
from evolcoder.loop import plan_recipe, run_recipe
from evolcoder.loop.stages import Choice, Stage, Stages
from evolcoder.progress import SilentProgress
from evolcoder.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Made(Stage):
    """A stage with its work."""

    make: Callable[[], object] = lambda: None


def do(stages: Stages, stage: Made) -> None:
    with stages.doing(stage) as undone:
        if undone:
            stage.make()


def chain(folder: Path, **settings: int) -> tuple[list[str], Callable[..., list[Made]]]:
    """Three stages, each made of the one before; returns what was made, and the stages' maker."""
    made: list[str] = []

    def stages() -> list[Made]:
        found = []
        for number, name in enumerate(("seeds", "evolve:1", "train:1")):
            path, before = folder / f"{number}.txt", folder / f"{number - 1}.txt"

            def make(name: str = name, path: Path = path) -> None:
                made.append(name)
                path.write_text(f"{name} {settings.get(name.split(':')[0], 0) // 10}")

            found.append(
                Made(
                    name,
                    name,
                    {name: settings.get(name.split(":")[0], 0)},
                    {before.name: lambda before=before: before.read_text() if before.exists() else ""},
                    (found[-1].id,) if found else (),
                    (path,),
                    make=make,
                )
            )
        return found

    return made, stages


def do_all(folder: Path, stages: list[Made], choice: Choice | None = None) -> list[str]:
    notes = Notes()
    doing = Stages(folder, notes, choice or Choice())
    for stage in stages:
        do(doing, stage)
    return notes.said


def test_a_stage_is_done_once_until_what_it_was_made_from_changes(tmp_path: Path) -> None:
    made, stages = chain(tmp_path)
    do_all(tmp_path, stages())
    do_all(tmp_path, stages())
    assert made == ["seeds", "evolve:1", "train:1"]
    made, stages = chain(tmp_path, evolve=20)
    said = do_all(tmp_path, stages())
    assert made == ["evolve:1", "train:1"]
    assert "evolve:1: done again (evolve:1: 0 → 20)" in said
    assert "train:1: done again (1.txt changed)" in said


def test_a_stage_that_comes_out_as_it_was_ends_the_chain(tmp_path: Path) -> None:
    do_all(tmp_path, chain(tmp_path)[1]())
    made, stages = chain(tmp_path, evolve=5)
    planned = Stages(tmp_path, SilentProgress()).plan(stages())
    assert [item.state for item in planned] == ["done", "again", "perhaps again"]
    assert planned[2].why == "if evolve:1 comes out otherwise"
    do_all(tmp_path, stages())
    assert made == ["evolve:1"]


def test_a_setting_that_came_with_a_later_version_redoes_nothing_at_its_default(tmp_path: Path) -> None:
    done: list[str] = []

    def stage(name: str, **settings: int) -> Made:
        defaults = {"new": 0, "old": 7}
        return Made("a", "a", settings, {}, (), (), make=lambda: done.append(name), defaults=defaults)

    do_all(tmp_path, [stage("first", old=1)])
    do_all(tmp_path, [stage("default", old=1, new=0)])
    assert done == ["first"]
    said = do_all(tmp_path, [stage("changed", old=1, new=5)])
    assert done == ["first", "changed"]
    assert "a: done again (new: 0 → 5)" in said
    do_all(tmp_path, [stage("back", old=7, new=5)])
    assert done[2:] == ["back"]


def test_a_lost_product_is_made_again(tmp_path: Path) -> None:
    made, stages = chain(tmp_path)
    do_all(tmp_path, stages())
    (tmp_path / "2.txt").unlink()
    planned = Stages(tmp_path, SilentProgress()).plan(stages())
    assert (planned[2].state, planned[2].why) == ("again", "its product is gone")
    do_all(tmp_path, stages())
    assert made[3:] == ["train:1"]


def test_a_stage_that_failed_is_not_done(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError

    stages = Stages(tmp_path, SilentProgress())
    with pytest.raises(RuntimeError):
        do(stages, Made("a", "a", {}, {}, (), (), make=fail))
    done: list[int] = []
    do(stages, Made("a", "a", {}, {}, (), (), make=lambda: done.append(1)))
    assert done == [1]


def test_a_stage_is_redone_by_name_and_what_follows_only_if_it_came_out_otherwise(tmp_path: Path) -> None:
    made, stages = chain(tmp_path)
    do_all(tmp_path, stages())
    planned = Stages(tmp_path, SilentProgress(), Choice(redo=("evolve",))).plan(stages())
    assert [(item.state, item.why) for item in planned[1:]] == [
        ("again", "named by --redo"),
        ("perhaps again", "if evolve:1 comes out otherwise"),
    ]
    do_all(tmp_path, stages(), Choice(redo=("evolve",)))
    assert made[3:] == ["evolve:1"]


def test_a_stage_killed_while_it_was_redone_goes_on_and_one_that_came_to_its_end_begins_anew(
    tmp_path: Path,
) -> None:
    folder, met = tmp_path / "product", list[str]()

    def work() -> None:
        """Keep a state in the product's folder, as a training does; be stopped as long as told so."""
        folder.mkdir(exist_ok=True)
        met.append("goes on" if (folder / "state").exists() else "begins")
        (folder / "state").touch()
        if stopped:
            raise KeyboardInterrupt

    def sit(redo: bool) -> None:
        choice = Choice(redo=("a",)) if redo else Choice()
        with suppress(KeyboardInterrupt):
            do(Stages(tmp_path, SilentProgress(), choice), Made("a", "a", {}, {}, (), (folder,), make=work))

    stopped = True
    sit(redo=False)
    stopped = False
    sit(redo=False)
    stopped = True
    sit(redo=True)
    sit(redo=True)
    stopped = False
    sit(redo=True)
    sit(redo=True)
    assert met == ["begins", "goes on", "begins", "goes on", "goes on", "begins"]


def test_a_stage_stopped_half_way_and_then_named_begins_anew(tmp_path: Path) -> None:
    product = tmp_path / "product"

    def stopped() -> None:
        product.write_text("half")
        raise KeyboardInterrupt

    def made() -> None:
        assert not product.exists()

    for choice, make in ((Choice(), stopped), (Choice(redo=("a",)), made)):
        with suppress(KeyboardInterrupt):
            do(Stages(tmp_path, SilentProgress(), choice), Made("a", "a", {}, {}, (), (product,), make=make))


def test_a_skipped_stage_stays_as_it_stands(tmp_path: Path) -> None:
    do_all(tmp_path, chain(tmp_path)[1]())
    made, stages = chain(tmp_path, evolve=50, train=1)
    said = do_all(tmp_path, stages(), Choice(skip=("evolve:1",)))
    assert "evolve:1: taken as it stands" in said
    assert made == ["train:1"]


def test_what_needs_a_skipped_stage_is_skipped_too(tmp_path: Path) -> None:
    made, stages = chain(tmp_path)
    choice = Choice(skip=("evolve:1",))
    planned = Stages(tmp_path, SilentProgress(), choice).plan(stages())
    assert [item.state for item in planned] == ["to do", "skipped", "skipped"]
    said = do_all(tmp_path, stages(), choice)
    assert "train:1: skipped, it needs evolve:1" in said
    assert made == ["seeds"]


def test_a_name_that_names_no_stage_is_refused_with_the_nearest(tmp_path: Path) -> None:
    _, stages = chain(tmp_path)
    with pytest.raises(UserError, match=r"--redo trian:1: no such stage \(did you mean 'train:1'\?\)"):
        Stages(tmp_path, SilentProgress(), Choice(redo=("trian:1",))).plan(stages())


def test_time_adds_up_over_killed_sittings(tmp_path: Path) -> None:
    stages = Stages(tmp_path, SilentProgress())
    key_of_killed: list[str] = []

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(stages, Made("a", "a", {}, {}, (), (), make=killed))
    clock = stages.marker("a").with_suffix(".clock")
    key_of_killed.append(clock.read_text().split()[0])
    clock.write_text(f"{key_of_killed[0]} 100.0")
    do(stages, Made("a", "a", {}, {}, (), (), make=lambda: None))
    assert 100.0 <= stages.seconds_of("a") < 130.0
    clock.write_text(f"{key_of_killed[0]} 100.0")
    do(stages, Made("a", "a", {"x": 1}, {}, (), (), make=lambda: None))
    assert stages.seconds_of("a") < 30.0


def test_a_changed_recipe_redoes_what_depends_on_the_change_and_says_so_first(
    small: Callable[..., Recipe], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    before = plan_recipe(small(), run)
    assert {item.state for item in before.stages} == {"to do"}
    assert not run.exists()
    notes = Notes()
    result = run_recipe(small(), run, notes, "evolcoder run x")
    assert [line.state for line in notes.shown] == ["done"] * 5
    done = plan_recipe(small(), run)
    assert "nothing to do" in plan_text(done)
    # Two problems show nothing but all against none; half is assumed before the base model is measured.
    assert "humaneval, 2 problems, samples of each 1: the smallest difference seen is" in plan_text(before)
    assert plan_data(before)["designs"]["humaneval"]["rate"] == 0.5
    assert done.designs["humaneval"].rate == result["rounds"][0]["value"]
    assert result["decisions"][-1]["stop"]
    assert "first version" in result["notice"]

    unchanged = small(train={"keep": 1}, evaluate={"local": {"dtype": "fp32"}}, evolve={"rows_in_flight": 9})
    assert {item.state for item in plan_recipe(unchanged, run).stages} == {"done"}
    plan = plan_recipe(small(train={"learning_rate": 1e-4}), run)
    assert [item.state for item in plan.stages] == ["done", "done", "done", "again", "perhaps again"]
    assert plan.stages[3].why == "train.learning_rate: 2e-05 → 0.0001"
    assert plan.seconds["train:1"] > 0
    data = plan_data(plan)
    assert data["stages"][3]["state"] == "again" and data["seconds_not_known_for"] == []

    weights = run / "round-1" / "checkpoint" / "model.safetensors"
    old = weights.read_bytes()
    notes = Notes()
    run_recipe(small(train={"learning_rate": 1e-2}), run, notes, "evolcoder run x")
    first = notes.said[0]
    assert first == "to be done again: train round 1 (train.learning_rate: 2e-05 → 0.01)"
    assert weights.read_bytes() != old
    assert [line.state for line in notes.shown] == ["kept", "kept", "kept", "done", "done"]

    stamp = weights.stat().st_mtime_ns
    run_recipe(small(train={"learning_rate": 1e-2}), run, Notes(), "x", Choice(redo=("train:1",)))
    assert weights.stat().st_mtime_ns > stamp

    note = weights.with_name("my-notes.txt")
    note.write_text("do not lose")
    with pytest.raises(DataError, match=r"holds 'my-notes\.txt', which no trained model of evolcoder wrote"):
        run_recipe(small(train={"learning_rate": 1e-2}), run, Notes(), "x", Choice(redo=("train:1",)))
    assert note.exists() and weights.exists()
    note.unlink()
    (run / "best").unlink(missing_ok=True)
    (run / "best").mkdir()  # as a copy that follows links has it
    with pytest.raises(DataError, match=r"best: a run makes a link of this name"):
        run_recipe(small(train={"learning_rate": 1e-2}), run, Notes(), "x")


def test_the_plan_of_a_remote_teacher_tells_requests_and_money(
    small: Callable[..., Recipe], tmp_path: Path
) -> None:
    price = {"usd_per_million_input": 1.0, "usd_per_million_output": 10.0}
    remote = {"model": "openai:m", "base_url": "http://127.0.0.1:9/v1", "endpoint": price, "local": {}}
    plan = plan_recipe(small(teacher=remote, rounds={"max_rounds": 2, "rows_per_round": 10}), tmp_path / "r")
    assert plan.costs["evolve:1"].requests == 20
    assert plan.costs["evolve:1"].usd == pytest.approx(10 * (470 * 1e-6 + 430 * 1e-5))
    assert "40 requests, $0.10" in plan_text(plan)


def test_a_run_without_a_measured_round_keeps_none(small: Callable[..., Recipe], tmp_path: Path) -> None:
    choice = Choice(skip=("evaluate", "train"))
    result = run_recipe(small(), tmp_path / "run", Notes(), "x", choice)
    assert result["best_round"] is None
    assert (tmp_path / "run" / "report.html").exists()
    stages = json.loads((tmp_path / "run" / "stages.json").read_text())
    assert [stage["name"] for stage in stages] == ["seeds", "evolve round 1"]
