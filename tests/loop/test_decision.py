"""When the rounds stop, which one is kept, and what a changed recipe does again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.errors import RecipeError, UserError
from evolcoder.loop import FinishedStages, RoundScore, best_round, check_before_start, decide, point_to_best
from evolcoder.progress import SilentProgress
from evolcoder.recipe import Recipe, recipe_from_data


def recipe(rule: str = "decline", max_rounds: int = 4) -> Recipe:
    data = {
        "name": "t",
        "stop": {"rule": rule, "benchmark": "humaneval"},
        "rounds": {"max_rounds": max_rounds},
    }
    return recipe_from_data(data, "test")


def scores(*values: float) -> list[RoundScore]:
    return [RoundScore(number, value, 0.0, 1.0, 100, 164) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rule", "values", "stops"),
    [
        ("decline", (0.2, 0.3), False),
        ("decline", (0.2, 0.3, 0.25), True),
        ("decline", (0.3, 0.2), True),
        ("decline", (0.2, 0.2), False),
        ("decline", (0.2, 0.3, 0.3, 0.31), False),
        ("decline", (0.2, 0.3, 0.4, 0.5, 0.6), True),
        ("max_rounds", (0.3, 0.1), False),
        ("max_rounds", (0.5, 0.4, 0.3, 0.2, 0.1), True),
    ],
)
def test_the_rule_stops_on_a_decline_or_at_the_last_round(
    rule: str, values: tuple[float, ...], stops: bool
) -> None:
    decision = decide(recipe(rule), scores(*values))
    assert decision.stop is stops
    assert bool(decision.reason) is stops


@given(st.lists(st.integers(0, 164), min_size=1, max_size=8))
def test_the_best_round_is_the_earliest_of_the_highest(passed: list[int]) -> None:
    best = best_round(scores(*(n / 164 for n in passed)))
    assert best.value == max(passed) / 164
    assert all(n / 164 < best.value for n in passed[: best.round])


def test_a_stage_is_done_once_until_what_it_was_made_from_changes(tmp_path: Path) -> None:
    done: list[str] = []
    product = tmp_path / "product"

    def make(text: str) -> None:
        done.append(text)
        product.write_text(text)

    for key, text in (("a", "first"), ("a", "again"), ("b", "changed")):
        FinishedStages(tmp_path, SilentProgress()).do("stage", key, lambda text=text: make(text), [product])
    product.unlink()
    FinishedStages(tmp_path, SilentProgress()).do("stage", "b", lambda: make("lost"), [product])
    assert done == ["first", "changed", "lost"]


def test_a_stage_that_failed_is_not_done(tmp_path: Path) -> None:
    stages = FinishedStages(tmp_path, SilentProgress())
    done: list[int] = []

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stages.do("stage", "a", fail, [])
    stages.do("stage", "a", lambda: done.append(1), [])
    assert done == [1]


def test_the_link_follows_the_best_round(tmp_path: Path) -> None:
    for best in (1, 2):
        (tmp_path / f"round-{best}" / "checkpoint").mkdir(parents=True)
        point_to_best(tmp_path, best)
        assert (tmp_path / "best").resolve() == (tmp_path / f"round-{best}" / "checkpoint").resolve()
    point_to_best(tmp_path, 0)
    assert not (tmp_path / "best").is_symlink()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"seeds": {"source": "gone.jsonl"}}, r"gone\.jsonl: no such file"),
        ({"stop": {"benchmark": "humanevil"}}, r"did you mean 'humaneval'"),
        ({"evaluate": {"settings": {"oracle": "delphi"}}}, r"oracle 'delphi'"),
        ({"base": {"model": "openai:gpt-4o"}}, r"base\.model: weights to fine-tune are expected"),
        ({"teacher": {"model": "./gone.gguf"}}, r"gone\.gguf: no such file"),
    ],
)
def test_what_would_fail_later_fails_at_once(data: dict[str, object], said: str) -> None:
    asked = {"name": "t", "stop": {"benchmark": "humaneval"}, **data}
    with pytest.raises((UserError, RecipeError), match=said):
        check_before_start(recipe_from_data(asked, "test"))
