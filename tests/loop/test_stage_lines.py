"""What a terminal shows of a whole run, and what a log does."""

from __future__ import annotations

import pytest

from evolcoder.cli.progress_view import LiveProgress, PlainProgress, shown_window, stage_text
from evolcoder.progress import StageLine, StageState, duration, left_text, seconds_left


def lines(*states: StageState, seconds: float | None = 60.0) -> list[StageLine]:
    return [StageLine(f"stage {i}", state, seconds) for i, state in enumerate(states)]


def test_a_log_gets_one_line_when_a_stage_begins_and_one_when_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = PlainProgress()
    view.stages(lines("kept", "running", "waiting"))
    view.stages(lines("kept", "running", "waiting"))
    view.stages(lines("kept", "done", "running"))
    view.stages(lines("kept", "done", "done"))
    view.stages([])
    assert capsys.readouterr().err.splitlines() == [
        "[1/3] stage 0: done before",
        "[2/3] stage 1 (about 1 min 00 s); 1 of 3 stages at most; about 2 min 00 s left",
        "[2/3] stage 1: done in 1 min 00 s",
        "[3/3] stage 2 (about 1 min 00 s); 2 of 3 stages at most; about 1 min 00 s left",
        "[3/3] stage 2: done in 1 min 00 s",
    ]


def test_time_left_counts_what_the_running_stage_has_done_and_says_what_is_not_known() -> None:
    assert left_text(lines("done", "running", "waiting"), 45.0).endswith("about 1 min 15 s left")
    assert left_text(lines("done", "running", "waiting"), 500.0).endswith("about 1 min 00 s left")
    some = [*lines("running"), *lines("waiting", seconds=None)]
    assert left_text(some, 0.0).endswith("1 min 00 s left and 1 stage whose time is not known yet")
    assert left_text(lines("running", "waiting", seconds=None), 9.0).endswith("time left not known yet")


@pytest.mark.parametrize(
    ("done", "total", "ahead"),
    [(0, 30, None), (1, 32, None), (2, 32, 900.0), (10, 1000, 5940.0), (30, 30, None), (5, None, None)],
)
def test_time_ahead_is_not_told_from_the_first_item_of_many(
    done: int, total: int | None, ahead: float | None
) -> None:
    assert seconds_left(done, total, 60.0) == ahead


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.44, "8.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (11_220, "3 h 07 min"),
    ],
)
def test_a_length_of_time_reads_like_one(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_stage_that_runs_tells_time_gone_and_time_expected() -> None:
    assert stage_text(lines("running")[0], 5.0).endswith(" 5.0 s of about 1 min 00 s")
    assert stage_text(lines("waiting", seconds=None)[0], 0.0) == "· stage 0"


@pytest.mark.parametrize("running", range(20))
def test_a_low_terminal_shows_the_stages_around_the_one_that_runs(running: int) -> None:
    states: list[StageState] = ["done"] * running + ["running"] + ["waiting"] * (19 - running)
    shown, before, after = shown_window(lines(*states), 6)
    assert len(shown) == 6
    assert before + 6 + after == 20
    assert any(line.state == "running" for line in shown)


def test_the_live_view_shows_stages_with_the_bars_of_the_one_under_way() -> None:
    from rich.console import Console

    view = LiveProgress()
    view._console = Console(width=100, height=30, file=open("/dev/null", "w"), record=True)  # noqa: PTH123, SIM115
    view._lines = lines("done", "running", "waiting")
    with view.bar("evolve round 1", 24) as bar:
        bar.advance(12, kept=10)
        view._console.print(view._view())
    text = view._console.export_text()
    assert text.index("✓ stage 0") < text.index("▶ stage 1") < text.index("12/24") < text.index("· stage 2")
    assert "kept 10" in text
