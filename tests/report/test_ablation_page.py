"""An ablation as a reader meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evolcoder.errors import DataError
from evolcoder.report.ablation_page import ablation_table, write_ablation

from .test_page import read


def arm(
    group: str, name: str, values: tuple[float, ...], against: float | None, **of_grid: Any
) -> dict[str, Any]:
    value = sum(values) / len(values)
    compared = None if against is None else value - against
    score = {
        "benchmark": "humaneval",
        "value": value,
        "low": value - 0.05,
        "high": value + 0.07,
        "n_problems": 32,
        "n_samples": 32,
        "problems": "32 of 164, evenly spaced",
        "trainings": list(values),
        "difference": compared,
        "difference_low": None if compared is None else compared - 0.1,
        "difference_high": None if compared is None else compared + 0.1,
        "p_value": None if compared is None else 0.25,
        "p_adjusted": None if compared is None else 0.5,
    }
    sizes = {"rows": 1200, "tokens": 34567, "data": "", "steps": None}
    return {"group": group, "name": name, **sizes, "scores": [score], **of_grid}


@pytest.fixture
def found() -> dict[str, Any]:
    return {
        "name": "<b>small</b>",
        "base": "embedded",
        "benchmarks": ["humaneval"],
        "command": "evolcoder ablate r.yaml",
        "trainings": 1,
        "arms": [
            arm("rounds alone, equal samples", "round 0 (seeds)", (0.1,), None),
            arm("rounds alone, equal samples", "round 1", (0.25,), 0.1),
            arm("rounds merged", "seeds", (0.2,), None),
        ],
    }


def test_the_table_has_an_interval_beside_every_score_and_difference(found: dict[str, Any]) -> None:
    lines = [" ".join(line.split()) for line in ablation_table(found).splitlines()]
    assert lines[0].startswith("humaneval, problems: 32 of 164, evenly spaced")
    assert "rounds alone, equal samples:" in lines
    assert "round 0 (seeds) 1,200 34,567 10.0 5.0 – 17.0" in lines
    assert "round 1 1,200 34,567 25.0 20.0 – 32.0 +15.0 +5.0 to +25.0 0.25 (0.5)" in lines
    assert any(
        line.startswith("one training: differences may be of the run, not of the arm") for line in lines
    )
    assert any(line.startswith("The smallest difference seen in 80% of cases: ") for line in lines)


def test_every_training_is_a_point(found: dict[str, Any], tmp_path: Path) -> None:
    group, grid = "rounds merged", "rounds and steps"
    found["trainings"] = 3
    found["arms"] = [
        arm(group, "seeds", (0.1, 0.12, 0.2), None),
        arm(group, "seeds and round 1", (0.3, 0.33, 0.36), 0.14),
        arm(grid, "seeds, 100 steps", (0.1, 0.1, 0.1), None, data="seeds", steps=100),
        arm(grid, "seeds, 200 steps", (0.2, 0.2, 0.2), 0.1, data="seeds", steps=200),
        arm(grid, "round 1, 100 steps", (0.3, 0.3, 0.3), 0.1, data="round 1", steps=100),
        arm(grid, "round 1, 200 steps", (0.4, 0.4, 0.4), 0.1, data="round 1", steps=200),
    ]
    table = ablation_table(found)
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "seeds and round 1 1,200 34,567 33.0 28.0 – 40.0 30.0 33.0 36.0" in "\n".join(lines)
    assert "one training" not in table and "Welch's t" in table
    assert [line for line in lines if line.startswith(("trained on", "seeds 10", "round 1 3"))] == [
        "trained on 100 steps 200 steps",
        "seeds 10.0 20.0",
        "round 1 30.0 40.0",
    ]
    (tmp_path / "ablation.json").write_text(json.dumps(found))
    html = write_ablation(tmp_path).read_text()
    assert html.count("one training: ") == 2 * 3
    assert html.count('style="--shade: ') == 4


def test_the_page_shows_plot_and_table_and_asks_no_host(found: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "ablation.json").write_text(json.dumps(found))
    page = read(write_ablation(tmp_path))
    assert "<b>small</b>" in page.text
    assert {"svg", "table"} <= page.tags and "script" not in page.tags
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    assert "evolcoder ablate r.yaml" in page.text


def test_a_folder_without_an_ablation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="evolcoder ablate"):
        write_ablation(tmp_path)


def test_what_was_measured_is_named_where_it_is_not_pass_at_1(found: dict[str, Any], tmp_path: Path) -> None:
    for made in found["arms"]:
        made["scores"][0]["measure"] = "win rate"
    (tmp_path / "ablation.json").write_text(json.dumps(found))
    page = write_ablation(tmp_path).read_text()
    for told in (ablation_table(found), page):
        assert "win rate" in told and "pass@1" not in told and "smallest difference" not in told
