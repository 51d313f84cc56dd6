"""Ablations on a tiny model: equal sizes, shared work, and the table."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.loop.conftest import Notes, new_task, taught_by, teacher

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.loop import run_recipe
from evolcoder.loop.ablation import ablate
from evolcoder.loop.ablation_arms import Question, arm_scores, made_equal
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
    samples = made_equal(sets, "samples", length, seed)
    assert {len(rows) for rows in samples} == {min(map(len, sets))}
    least = min(sum(map(length, rows)) for rows in sets)
    tokens = made_equal(sets, "tokens", length, seed)
    for whole, part in zip(sets, tokens, strict=True):
        total = sum(map(length, part))
        assert total <= least
        # Nothing that was left out would have fitted.
        assert all(total + length(row) > least for row in whole if row not in part)
        assert part == [row for row in whole if row in part]
    assert made_equal(sets, "tokens", length, seed) == tokens
    assert made_equal(sets, "nothing", length, seed) == sets


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


def test_seeds_steps_and_the_seed_only_model(
    small: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    run = tmp_path / "run"
    with teacher(new_task) as server:
        recipe = taught_by(small, server, rounds={"max_rounds": 1, "rows_per_round": 4})
        notes = Notes()
        found = ablate(recipe, run, Question(("seeds-only", "steps"), steps=(1, 2), seeds=2), notes, "x")
        again = Notes()
        assert (
            ablate(recipe, run, Question(("seeds-only", "steps"), steps=(1, 2), seeds=2), again, "x") == found
        )
    assert {line.state for line in again.shown} == {"kept"}
    arms = {(arm["group"], arm["name"]): arm for arm in found["arms"]}
    assert list(arms) == [
        ("seeds only", "seeds"),
        ("seeds only", "base model"),
        ("seeds only", "seeds and round 1"),
        ("rounds and steps", "seeds, 1 steps"),
        ("rounds and steps", "seeds, 2 steps"),
        ("rounds and steps", "seeds and round 1, 1 steps"),
        ("rounds and steps", "seeds and round 1, 2 steps"),
    ]
    trainings = {key: len(arm["scores"][0]["trainings"]) for key, arm in arms.items()}
    assert {key[1] for key, count in trainings.items() if count == 1} == {"base model"}
    assert set(trainings.values()) == {1, 2}
    for (_, name), arm in arms.items():
        score = arm["scores"][0]
        assert (score["p_adjusted"] is None) == (name in ("seeds", "seeds, 1 steps"))
    # 2 sets of rows, 2 seeds, and 1 or 2 steps; two steps are the recipe's own, so they are no new training.
    kept = sorted(path.parent.name for path in run.glob("ablation/arms/*/checkpoint"))
    assert len(kept) == 7 and sum("-1-steps" in name for name in kept) == 4
    assert sum(name.endswith("-seed-1") for name in kept) == 4
    assert (run / "round-1" / "checkpoint").is_dir()


def trained(draw: random.Random, rates: list[float]) -> dict[str, Any]:
    """What the scores of one training look like: one point of run noise, one sample a problem."""
    run = draw.gauss(0.0, 0.01)
    passed = {f"t/{at}": [draw.random() < rate + run] for at, rate in enumerate(rates)}
    value = sum(v[0] for v in passed.values()) / len(passed)
    score = {"k": 1, "value": value, "low": 0.0, "high": 1.0, "n_problems": len(passed), "settings": {}}
    return {"scores": [{**score, "n_samples": len(passed)}], "problems": passed}


def test_equal_arms_are_called_different_in_at_most_six_of_a_hundred_ablations() -> None:
    draw, called = random.Random(3), 0
    for _ in range(1000):
        rates = [draw.betavariate(0.5, 0.5) for _ in range(60)]
        scores = arm_scores([[trained(draw, rates) for _ in range(3)] for _ in range(2)], 0, "humaneval")
        called += (scores[1].p_adjusted or 0.0) < 0.05
    assert called <= 60


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
    assert "--steps N,N" in refused(Question(("steps",)))
    assert "--over steps" in refused(Question(("rounds",), steps=(100,)))
    assert "--arm NAME=FILE" in refused(Question(("files",)))
    assert "not combined" in refused(Question(("files", "merged"), files=(("A", ("a",)),)))
    assert "same name" in refused(Question(("files",), files=(("A", ("a",)), ("A", ("b",)))))
    weights = dict.fromkeys(("misdirect", "complexity", "more-reasoning", "rare-requirement"), 0.0)
    one = small()
    one = replace(one, evolve=replace(one.evolve, weights=weights))
    assert "one method only (add-constraints)" in refused(Question(("methods",)), one)
    assert not (tmp_path / "run").exists()


def test_data_files_are_arms_read_and_screened_as_seeds(small: Callable[..., Recipe], tmp_path: Path) -> None:
    short = [{"instruction": f"Return {at} in Python.", "output": f"return {at}"} for at in range(8)]
    long = [{"instruction": f"Return {at} or less.", "output": f"return {at}" * 4} for at in range(8)]
    copied = load_benchmark("humaneval").problems[0].prompt
    long.append({"instruction": copied, "output": "pass"})
    for name, rows in (("a", short), ("b", long)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    question = Question(
        ("files",), ("supervised", "samples"), files=(("A", (a,)), ("B", (b,)), ("C", (a, b)))
    )
    found = ablate(small(), tmp_path / "run", question, notes := Notes(), "x")
    assert any("1 of 9 copy a problem" in line for line in notes.said)
    arms = {(arm["group"].partition(", ")[2], arm["name"]): arm for arm in found["arms"]}
    assert list(arms) == [
        (equal, name)
        for equal in ("equal tokens of answers", "equal samples")
        for name in ("A", "base model", "B", "C")
    ]
    assert [arms["equal samples", name]["rows"] for name in "ABC"] == [8, 8, 8]
    tokens = {name: arms["equal tokens of answers", name] for name in "ABC"}
    assert tokens["A"]["rows"] == 8 and tokens["B"]["rows"] == 2
    assert max(arm["tokens"] for arm in tokens.values()) == tokens["A"]["tokens"]
    assert [arms["equal samples", name]["scores"][0]["p_value"] is None for name in "ABC"] == [
        True,
        False,
        False,
    ]
    assert ablate(small(), tmp_path / "run", question, again := Notes(), "x") == found
    assert {line.state for line in again.shown} == {"kept"}
