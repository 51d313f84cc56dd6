"""What a run finds out before it starts, and what it points at when it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evolcoder.errors import MissingExtraError, RecipeError, UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.overlap import shared_problems
from evolcoder.loop import check_before_start, run_recipe
from evolcoder.loop.results import point_to_best
from evolcoder.models.local.engine import open_answering_engine
from evolcoder.models.local.settings import LocalSettings
from evolcoder.progress import SilentProgress
from evolcoder.recipe import Recipe, recipe_from_data


def test_the_link_follows_the_best_round(tmp_path: Path) -> None:
    for best in (1, 2):
        (tmp_path / f"round-{best}" / "checkpoint").mkdir(parents=True)
        point_to_best(tmp_path, best)
        assert (tmp_path / "best").resolve() == (tmp_path / f"round-{best}" / "checkpoint").resolve()
    for none in (0, None):
        point_to_best(tmp_path, none)
        assert not (tmp_path / "best").is_symlink()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"seeds": {"source": "gone.jsonl"}}, r"gone\.jsonl: no such file"),
        ({"stop": {"benchmark": "humanevil", "select_on_test": True}}, r"did you mean 'humaneval'"),
        ({"evaluate": {"settings": {"oracle": "delphi"}}}, r"oracle 'delphi'"),
        ({"base": {"model": "openai:gpt-4o"}}, r"base\.model: weights to fine-tune are expected"),
        ({"teacher": {"model": "./gone.gguf"}}, r"gone\.gguf: no such file"),
    ],
)
def test_what_would_fail_later_fails_at_once(data: dict[str, object], said: str) -> None:
    asked = {"name": "t", "stop": {"rule": "paper-v1"}, **data}
    with pytest.raises((UserError, RecipeError), match=said):
        check_before_start(recipe_from_data(asked, "test"))


def test_a_run_without_the_packages_for_training_says_so_before_any_stage(
    small: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"a run needs .*pip install 'evolcoder\[train\]'"):
        run_recipe(small(), tmp_path / "run", SilentProgress(), "")
    assert not (tmp_path / "run" / "seeds.jsonl").exists()
    with pytest.raises(MissingExtraError, match=r"a model in this process needs .*evolcoder\[local\]'"):
        open_answering_engine("embedded", LocalSettings())


def test_problems_are_recognised_under_other_ids_and_in_other_sets(benchmark_data: Path) -> None:
    problems = {name: load_benchmark(name) for name in ("humaneval", "humaneval+", "mbpp+", "mbpp-400")}
    assert len(shared_problems(problems["humaneval"], problems["humaneval+"])) == 164
    in_both = shared_problems(problems["mbpp-400"], problems["mbpp+"])
    assert 100 < len(in_both) < 378
    assert shared_problems(problems["humaneval"], problems["mbpp-400"]) == ()
    own = enumerate(problems["humaneval"].problems[:5])
    renamed = tuple(replace(problem, task_id=f"own/{i}") for i, problem in own)
    assert len(shared_problems(AssertionBenchmark("own", "", renamed), problems["humaneval"])) == 5
