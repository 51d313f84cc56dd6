"""A run that a user's benchmark decides: after a change of the file it measures again and trains nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.loop.conftest import Notes

from evolcoder.errors import RecipeError, UserError
from evolcoder.loop import plan_recipe, run_recipe
from evolcoder.recipe import Recipe
from evolcoder.sandbox import probe

MINE = """
import json
from pathlib import Path
from numbers_wanted import WANTED
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.records import Problem

def load():
    rows = json.loads(Path(__file__).with_name("rows.json").read_text())
    problems = [
        Problem(f"Mine/{n}", "mine", f"def f(x):\\n    '''Return x times {n}.'''\\n", "f",
                f"assert f({WANTED}) == {WANTED * n}", f"    return x * {n}\\n")
        for n in rows
    ]
    return AssertionBenchmark("mine", "v1", tuple(problems))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the benchmark, a module that it imports, and its data."""
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "numbers_wanted.py").write_text("WANTED = 3\n")
    (tmp_path / "rows.json").write_text("[2, 3, 5]")
    return tmp_path


def decided_by(small: Callable[..., Recipe], path: Path, *reported: str) -> Recipe:
    settings = {"style": "chat", "limit": 2, "max_tokens": 8}
    return small(
        stop={"rule": "max_rounds", "benchmark": str(path)},
        evaluate={"benchmarks": list(reported), "settings": settings},
    )


def to_do(recipe: Recipe, run: Path) -> dict[str, str]:
    """Return the stages that are not done, and why."""
    planned = plan_recipe(recipe, run).stages
    return {item.stage.id.partition(":/")[0]: item.why for item in planned if item.state != "done"}


def test_a_changed_file_is_measured_again(small: Callable[..., Recipe], folder: Path) -> None:
    run, mine, data = folder / "run", folder / "mine.py", folder / "rows.json"
    recipe = decided_by(small, mine)
    result = run_recipe(recipe, run, Notes(), "x")
    assert result["benchmark"] == str(mine) and len(result["rounds"]) == 2
    assert (run / "round-1/evaluation/mine/scores.json").exists()
    assert to_do(recipe, run) == {}
    for path, text in (
        (mine, MINE + "\n# corrected\n"),
        (folder / "numbers_wanted.py", "WANTED = 4\n"),
        (data, "[2, 3, 7]"),
    ):
        before = path.read_text()
        path.write_text(text)
        mine.touch()  # data alone is looked at by every new process
        why = to_do(recipe, run)
        assert why["seeds"] == why["evaluate:0"] == f"{mine} changed"
        assert why["evaluate:1"].startswith(("if ", f"{mine} changed"))
        path.write_text(before)
    data.write_text("[2, 3, 7]")
    mine.touch()
    notes = Notes()
    run_recipe(recipe, run, notes, "x")
    assert [line.title for line in notes.shown if line.state == "kept"] == ["train round 1"]
    assert to_do(recipe, run) == {}
    samples = (run / "round-1/evaluation/mine/samples.jsonl").read_text().splitlines()
    assert {json.loads(line)["task_id"] for line in samples} == {"Mine/2", "Mine/3"}


def test_tests_that_pass_everything_stop_a_run_before_it_begins(
    small: Callable[..., Recipe], folder: Path
) -> None:
    (folder / "mine.py").write_text(MINE.replace("== {WANTED * n}", "or True"))
    with pytest.raises(UserError, match=r"mine\.py: problem Mine/2: its tests pass a function that returns"):
        plan_recipe(decided_by(small, folder / "mine.py"), folder / "run")


def test_problems_of_its_own_may_decide_whatever_the_name_of_their_file(
    small: Callable[..., Recipe], folder: Path
) -> None:
    own, copy = folder / "better-than-humaneval.py", folder / "mine.py"
    own.write_text(MINE)
    plan_recipe(decided_by(small, own, "humaneval"), folder / "run")
    copy.write_text(
        "from evolcoder.evaluate.benchmarks import load_benchmark\n"
        + MINE.replace("    problems = [", "    problems = load_benchmark('humaneval').problems[:3] or [")
    )
    with pytest.raises(RecipeError, match="shares 3 problems with humaneval"):
        plan_recipe(decided_by(small, copy, "humaneval"), folder / "run")


def test_two_files_of_one_name_do_not_share_a_folder(small: Callable[..., Recipe], folder: Path) -> None:
    other = folder / "humaneval.py"
    with pytest.raises(RecipeError, match=r"humaneval and .*humaneval\.py would both write into humaneval/"):
        decided_by(small, other, "humaneval")
