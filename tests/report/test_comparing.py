"""Runs side by side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evolcoder.errors import UserError
from evolcoder.report import write_comparison

from .conftest import RunBuilder


def text_of(path: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", path.read_text(encoding="utf-8").split("</style>")[1]).split())


def rename(run: Path, name: str, old: str = "", new: str = "") -> Path:
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: quickstart", f"name: {name}").replace(old, new))
    return run


def test_the_best_rounds_are_compared_problem_by_problem(build_run: RunBuilder, tmp_path: Path) -> None:
    weak = rename(build_run("a", passed=(2, 5, 9, 7)), "weak")
    strong = rename(
        build_run("b", passed=(2, 12, 15, 11)), "strong", "rows_per_round: 60", "rows_per_round: 90"
    )
    text = text_of(write_comparison([weak, strong], tmp_path / "out.html"))
    assert "weak and strong" in text
    assert "+15.0 points" in text and "on 40 problems that both have" in text
    assert "rounds.rows_per_round 60 90" in text
    assert "train.epochs" not in text, "a setting that is the same is not shown"
    assert "evolve.seed" not in text


def test_a_run_against_itself_differs_in_nothing(build_run: RunBuilder, tmp_path: Path) -> None:
    run = build_run()
    text = text_of(write_comparison([run, run], tmp_path / "out.html"))
    assert "+0.0 points" in text and "0 better, 0 worse, p = 1: the difference may be chance" in text
    assert "The recipes are the same." in text


def test_scores_that_were_measured_differently_are_not_passed_over(
    build_run: RunBuilder, tmp_path: Path
) -> None:
    first, other = build_run("a"), build_run("b")
    for path in other.glob("round-*/evaluation/*/scores.json"):
        path.write_text(path.read_text().replace('"style": "wizardcoder"', '"style": "chat"'))
    text = text_of(write_comparison([first, other], tmp_path / "out.html"))
    assert "Not measured alike: style: wizardcoder, chat." in text


def test_runs_without_a_common_benchmark_are_refused_with_what_each_has(
    build_run: RunBuilder, tmp_path: Path
) -> None:
    first = rename(build_run("a"), "one")
    other = rename(build_run("b", benchmark="mbpp-400"), "two")
    with pytest.raises(UserError, match=r"one: humaneval; two: mbpp-400"):
        write_comparison([first, other], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
