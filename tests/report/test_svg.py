"""The pieces of charts: text stays text, numbers stay numbers, ticks cover their data."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.report.charts import (
    Cell,
    Line,
    ScorePoint,
    Segment,
    element,
    line_chart,
    nice_ticks,
    number,
    problem_strip,
    score_chart,
    stacked_bar,
    thin,
    tick_label,
)

finite = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def test_text_and_attributes_are_escaped() -> None:
    drawn = element("text", "<script>", class_='a" onload="x', text_anchor="end", x=1.0)
    assert drawn == '<text class="a&#34; onload=&#34;x" text-anchor="end" x="1">&lt;script&gt;</text>'


@given(finite, finite)
def test_ticks_are_even_and_cover_the_data(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    ticks = nice_ticks(low, high)
    span = ticks[-1] - ticks[0]
    assert 2 <= len(ticks) <= 12
    assert ticks[0] <= low + span * 1e-6 and high - span * 1e-6 <= ticks[-1]
    steps = [after - before for before, after in itertools.pairwise(ticks)]
    assert max(steps) - min(steps) <= 1e-6 * max(steps)


def test_ticks_of_what_is_no_number_are_still_ticks() -> None:
    assert nice_ticks(math.nan, 1.0) == [0.0, 1.0]
    assert number(math.inf) == "0"


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0.0, 10.0, 20.0], ["0", "10", "20"]),
        ([0.8, 1.0, 1.2], ["0.8", "1.0", "1.2"]),
        ([0.0, 2.5, 5.0], ["0.0", "2.5", "5.0"]),
        ([0.0, 5000.0, 10000.0], ["0", "5,000", "10,000"]),
    ],
)
def test_tick_labels_have_the_same_decimals(ticks: list[float], labels: list[str]) -> None:
    assert [tick_label(ticks)(tick) for tick in ticks] == labels


@given(st.lists(finite, min_size=1, max_size=2000), st.integers(2, 300))
def test_thinning_keeps_the_end_the_bound_and_the_mean(values: list[float], most: int) -> None:
    points = [(float(i), value) for i, value in enumerate(values)]
    thinned = thin(points, most)
    assert len(thinned) <= most or thinned == points
    assert len(thinned) <= max(most, 0) or len(points) <= most
    assert thinned[-1][0] == points[-1][0]
    assert min(values) - 1e-3 <= min(y for _, y in thinned)
    assert max(y for _, y in thinned) <= max(values) + 1e-3


def test_a_score_chart_marks_the_best_round_and_shows_every_value() -> None:
    points = [ScorePoint(0, "base", 0.1, 0.05, 0.2), ScorePoint(1, "round 1", 0.25, 0.15, 0.4)]
    root = ET.fromstring(str(score_chart(points, best=1)))
    values = {text.get("class"): text.text for text in root.iter("text") if "value" in text.get("class", "")}
    assert values == {"value c0": "10.0", "value best": "25.0"}
    assert [title.text for title in root.iter("title")][1] == "round 1: 25.0% (95% interval 15.0 to 40.0)"


def test_one_point_and_all_zero_scores_can_be_drawn() -> None:
    chart = score_chart([ScorePoint(0, "base", 0.0, 0.0, 0.0)], best=0)
    assert "nan" not in chart and "inf" not in chart
    ET.fromstring(str(chart))
    ET.fromstring(str(line_chart([Line("round 1", [(1, 2.0)], 1)], "step", "loss")))


def test_bar_segments_fill_their_share() -> None:
    bar = ET.fromstring(str(stacked_bar([Segment("kept", 3, "c0"), Segment("dropped", 1, "c1")], whole=8)))
    rects = [(rect.get("x"), rect.get("width")) for rect in bar.iter("rect")]
    assert rects == [("0%", "37.5%"), ("37.5%", "12.5%")]


def test_a_lost_problem_is_told_by_shape_as_well_as_colour() -> None:
    strip = ET.fromstring(
        str(problem_strip([Cell("pass"), Cell("loss"), Cell("gain", 0.5)], "HumanEval/1", 10))
    )
    kept, lost, gained = strip.iter("rect")
    assert kept.get("width") == "10" and lost.get("width") == "8"
    assert gained.get("fill-opacity") == "0.5"
