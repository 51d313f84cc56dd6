"""The table that ends a run."""

from __future__ import annotations

from typing import Any

from evolcoder.report.table import scores_table

RESULT: dict[str, Any] = {
    "benchmark": "humaneval",
    "rounds": [
        {"round": 0, "value": 0.05, "low": 0.01, "high": 0.16, "rows": 0},
        {"round": 1, "value": 0.1, "low": 0.04, "high": 0.23, "rows": 1540},
    ],
    "best_round": 1,
    "stop": {"rule": "max_rounds", "reason": "max_rounds = 1 reached"},
    "notice": "humaneval chose the round.",
}


def test_base_and_every_round_have_a_line_with_score_interval_and_change() -> None:
    lines = scores_table(RESULT).splitlines()
    assert lines[0] == "scores on humaneval"
    assert lines[3].split() == ["base", "–", "5.0", "1.0", "–", "16.0"]
    assert lines[4].split() == ["round", "1", "*", "1,540", "10.0", "4.0", "–", "23.0", "+5.0"]
    assert len({len(line) for line in lines[1:5]} - {len(lines[3])}) == 1


def test_the_best_round_the_stop_and_the_notice_are_told() -> None:
    assert scores_table(RESULT).splitlines()[-3:] == [
        "* best: round 1",
        "stopped: max_rounds = 1 reached",
        "notice: humaneval chose the round.",
    ]


def test_a_result_without_scores_is_a_table_without_rows() -> None:
    assert len(scores_table({}).splitlines()) == 2
    assert "–" in scores_table({"rounds": [{"round": 0}]})
