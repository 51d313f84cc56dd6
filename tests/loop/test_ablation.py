"""Ablations on a tiny model: equal sizes, shared work, and the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.loop.conftest import Notes, new_task, taught_by, teacher

from evolcoder.errors import UserError
from evolcoder.loop import run_recipe
from evolcoder.loop.ablation import ablate
from evolcoder.loop.ablation_arms import Question, cut
from evolcoder.recipe import Recipe
from evolcoder.records import Instruction, Lineage


def rows_of(sizes: list[int], prefix: str) -> list[Instruction]:
    return [
        Instruction(f"{prefix}{i}", "x" * size, "", "", Lineage(f"{prefix}{i}"))
        for i, size in enumerate(sizes)
    ]


def length(row: Instruction) -> int:
    return len(row.instruction)


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(st.lists(SIZES, min_size=1, max_size=4), st.integers(0, 5))
def test_equal_samples_and_equal_tokens_are_equal_and_the_same_every_time(
    sizes: list[list[int]], seed: int
) -> None:
    sets = [rows_of(part, f"s{number}-") for number, part in enumerate(sizes)]
    samples = cut(sets, "samples", length, seed)
    assert {len(rows) for rows in samples} == {min(map(len, sets))}
    least = min(sum(map(length, rows)) for rows in sets)
    tokens = cut(sets, "tokens", length, seed)
    for whole, part in zip(sets, tokens, strict=True):
        total = sum(map(length, part))
        assert total <= least
        # Nothing that was left out would have fitted.
        assert all(total + length(row) > least for row in whole if row not in part)
        assert part == [row for row in whole if row in part]
    assert cut(sets, "tokens", length, seed) == tokens
    assert cut(sets, "nothing", length, seed) == sets


def test_an_ablation_uses_the_runs_work_and_does_nothing_twice(
    small: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    run, question = (
        tmp_path / "run",
        Question(("alone", "merged", "methods"), ("samples",), (), ("misdirect",)),
    )
    with teacher(new_task) as server:
        recipe = taught_by(small, server, rounds={"max_rounds": 1, "rows_per_round": 8})
        run_recipe(recipe, run, Notes(), "evolcoder run x")
        rows = [json.loads(line) for line in (run / "round-1" / "evolved.jsonl").open()]
        assert len(rows) == 8 and len(server.bodies) == 16
        notes, method = Notes(), rows[0]["method"]
        question = Question(("alone", "merged", "methods"), ("samples",), methods=(method,))
        found = ablate(recipe, run, question, notes, "x")
        # Only the rows that had the method are evolved otherwise; all others are answered by the journal.
        had_it = sum(row["method"] == method for row in rows)
        assert 0 < had_it < 8
        assert len(server.bodies) == 16 + 2 * had_it
        again = Notes()
        assert ablate(recipe, run, question, again, "x") == found
    states = {line.title: line.state for line in notes.shown}
    of_the_run = ("seeds", "evolve round 1", "train round 1", "evaluate round 1 on humaneval")
    assert {states[title] for title in of_the_run} == {"kept"}
    assert {line.state for line in again.shown} == {"kept"}
    groups: dict[str, list[str]] = {}
    for arm in found["arms"]:
        groups.setdefault(arm["group"], []).append(arm["name"])
    assert groups == {
        "rounds alone, equal samples": ["round 0 (seeds)", "round 1"],
        "rounds merged": ["seeds", "seeds and round 1"],
        "methods left out, equal samples": ["all methods", f"without {method}"],
    }
    alone = found["arms"][:2]
    assert [arm["rows"] for arm in alone] == [8, 8]
    assert [arm["scores"][0]["p_value"] is None for arm in alone] == [True, False]
    assert "<svg" in (run / "ablation" / "ablation.html").read_text()


def test_an_arm_without_rows_is_an_error_that_names_it(small: Callable[..., Recipe], tmp_path: Path) -> None:
    # A random model evolves nothing that elimination keeps.
    with pytest.raises(UserError, match=r"rounds alone, equal samples: round 1 has no rows"):
        ablate(small(), tmp_path / "run", Question(("alone",), ("samples",)), Notes(), "x")


def test_what_cannot_be_ablated_is_refused(small: Callable[..., Recipe], tmp_path: Path) -> None:
    def refused(question: Question, recipe: Recipe | None = None) -> str:
        with pytest.raises(UserError) as caught:
            ablate(recipe or small(), tmp_path / "run", question, Notes(), "x")
        return str(caught.value)

    assert "did you mean 'misdirect'" in refused(Question(("methods",), methods=("misdirct",)))
    assert "--teacher MODEL" in refused(Question(("teachers",)))
    weights = dict.fromkeys(("misdirect", "complexity", "more-reasoning", "rare-requirement"), 0.0)
    one = small()
    one = replace(one, evolve=replace(one.evolve, weights=weights))
    assert "one method only (add-constraints)" in refused(Question(("methods",)), one)
    assert not (tmp_path / "run").exists()
