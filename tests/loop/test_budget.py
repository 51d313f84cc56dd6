"""A budget ends a run of the real loop: before the round that does not fit, or within one that was dearer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.loop.conftest import Notes, new_task, taught_by, teacher

from evolcoder.errors import BudgetExhaustedError
from evolcoder.loop import run_recipe
from evolcoder.recipe import Recipe


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")


def test_a_run_stops_before_the_round_that_does_not_fit_and_goes_on_with_a_higher_limit(
    small: Callable[..., Recipe], tmp_path: Path
) -> None:
    with teacher(new_task) as server:

        def limited(requests: int) -> Recipe:
            return taught_by(small, server, budget={"max_requests": requests})

        result = run_recipe(limited(12), tmp_path / "r", Notes(), "x")
        assert len(server.bodies) == 8
        assert [entry["round"] for entry in result["rounds"]] == [0, 1]
        assert "8 of 12 requests (max_requests) are spent" in result["stop"]["reason"]
        notes = Notes()
        result = run_recipe(limited(16), tmp_path / "r", notes, "x")
    assert len(server.bodies) == 16
    assert [entry["round"] for entry in result["rounds"]] == [0, 1, 2]
    assert [line.state for line in notes.shown][:5] == ["kept"] * 5


def test_a_round_in_which_the_budget_ends_does_not_count(
    small: Callable[..., Recipe], tmp_path: Path
) -> None:
    # In the first round every evolution comes back unchanged: no answers are asked for, it is cheap.
    lazy = True

    def answer(text: str) -> str:
        return text.rstrip().rsplit("\n\n", 1)[-1] if lazy else new_task(text)

    with teacher(answer) as server:
        seeds = tmp_path / "seeds.jsonl"
        rows = [{"instruction": f"Write function number {i} of the plan.", "output": "x"} for i in range(4)]
        seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
        own = {"seeds": {"source": str(seeds), "limit": None}}
        first = taught_by(small, server, own, rounds={"max_rounds": 1})
        run_recipe(first, tmp_path / "r", Notes(), "x")
        assert len(server.bodies) == 4
        lazy = False
        limited = taught_by(small, server, own, budget={"max_requests": 10})
        result = run_recipe(limited, tmp_path / "r", Notes(), "x")
    assert len(server.bodies) == 10
    assert [entry["round"] for entry in result["rounds"]] == [0, 1]
    assert "the budget ended within round 2, which does not count" in result["stop"]["reason"]


def test_a_budget_that_ends_in_the_first_round_is_an_error_that_says_how_to_go_on(
    small: Callable[..., Recipe], tmp_path: Path
) -> None:
    with teacher(new_task) as server, pytest.raises(BudgetExhaustedError, match="a higher limit continues"):
        run_recipe(taught_by(small, server, budget={"max_requests": 3}), tmp_path / "r", Notes(), "x")
    assert len(server.bodies) == 3
    assert not (tmp_path / "r" / "result.json").exists()
