"""A run folder that version 0.1.0 made is taken over as it stands.

`run_of_0.1.0.tar.gz` holds a recipe of two rounds, its tiny base model, and the folder of the finished run
(less the report, which is written anew). Its teacher was a server that is not there now: a request fails.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from evolcoder.loop import plan_recipe, run_recipe
from evolcoder.progress import SilentProgress
from evolcoder.recipe import Recipe, load_recipe

RUN = Path("run")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    with tarfile.open(Path(__file__).parent / "run_of_0.1.0.tar.gz") as stored:
        knows = hasattr(tarfile, "data_filter")  # Python 3.11.4 and later
        stored.extractall(tmp_path, **({"filter": "data"} if knows else {}))
    monkeypatch.chdir(tmp_path)
    return load_recipe(Path("recipe.yaml"), ())


def files_of(run: Path) -> dict[str, bytes]:
    """What the stages made and what they left of themselves."""
    made = [*run.glob("*.jsonl"), *run.glob("round-*/**/*"), *run.glob("stages/*")]
    return {str(path): path.read_bytes() for path in made if path.is_file()}


def test_the_plan_says_that_nothing_is_to_be_done(recipe: Recipe) -> None:
    planned = plan_recipe(recipe, RUN)

    assert {(item.state, item.why) for item in planned.stages} == {("done", "")}
    assert len(planned.stages) == 8


def test_running_it_again_changes_no_file_of_any_stage(recipe: Recipe) -> None:
    before = files_of(RUN)

    result = run_recipe(recipe, RUN, SilentProgress(), "evolcoder run recipe.yaml")

    assert files_of(RUN) == before
    assert [entry["rows"] for entry in result["rounds"]] == [0, 16, 20]


def test_a_round_that_was_lost_is_made_again_from_the_journal_byte_for_byte(recipe: Recipe) -> None:
    made = ("evolved.jsonl", "eliminated.jsonl", "dataset.jsonl", "summary.json")
    before = {name: (RUN / "round-2" / name).read_bytes() for name in made}
    kept = (RUN / "stages" / "train-2.json").read_bytes()
    for name in made:
        (RUN / "round-2" / name).unlink()
    (RUN / "stages" / "evolve-2.json").unlink()

    run_recipe(recipe, RUN, SilentProgress(), "evolcoder run recipe.yaml")

    assert {name: (RUN / "round-2" / name).read_bytes() for name in made} == before
    assert (RUN / "stages" / "train-2.json").read_bytes() == kept


def test_a_third_round_would_be_all_that_is_to_do_where_the_recipe_allows_one(recipe: Recipe) -> None:
    more = load_recipe(Path("recipe.yaml"), ("rounds.max_rounds=3",))

    states = {item.stage.id: item.state for item in plan_recipe(more, RUN).stages}

    assert [id_ for id_, state in states.items() if state != "done"] == [
        "evolve:3",
        "train:3",
        "evaluate:3:humaneval",
    ]


def test_a_base_model_that_changed_since_is_seen(recipe: Recipe) -> None:
    shutil.copy(RUN / "round-1" / "checkpoint" / "model.safetensors", "model/model.safetensors")

    again = {item.stage.id for item in plan_recipe(recipe, RUN).stages if item.state == "again"}

    assert {"train:1", "train:2", "evaluate:0:humaneval"} <= again


def test_a_checkpoint_of_the_earlier_version_is_replaced_where_the_recipe_changed(recipe: Recipe) -> None:
    before = (RUN / "round-1" / "checkpoint" / "model.safetensors").read_bytes()
    changed = load_recipe(Path("recipe.yaml"), ("train.max_steps=3",))

    run_recipe(changed, RUN, SilentProgress(), "evolcoder run recipe.yaml")

    assert (RUN / "round-1" / "checkpoint" / "model.safetensors").read_bytes() != before
