"""The live view: what a run tells of itself while it works, and what is left to see when it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolcoder.app.compare_page import compare_page
from evolcoder.app.known_runs import KnownRuns
from evolcoder.app.live_run import live_html, live_run
from evolcoder.app.widgets import Place
from evolcoder.progress import SilentProgress, StageLine
from evolcoder.run_progress import PROGRESS_NAME, RecordedProgress, read_progress
from evolcoder.runs import write_json_whole

from .app_run import HOSTILE, make_app_run
from .test_shown_text import Page


class Watching(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seen: list[StageLine] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def stages(self, lines: list[StageLine]) -> None:
        self.seen = lines


def test_progress_is_passed_on_and_kept_for_others(tmp_path: Path) -> None:
    inner = Watching()
    lines = [StageLine("evolve round 1", "running", 60.0), StageLine("train round 1", "waiting", None)]
    with RecordedProgress(inner, tmp_path / PROGRESS_NAME) as progress:
        progress.note("begun")
        progress.stages(lines)
        with progress.bar("evolve round 1", 40) as bar:
            bar.advance(3, kept=2)
            progress.write(at_once=True)
            told = read_progress(tmp_path)
            assert told is not None and told.running
            assert [(b.name, b.done, b.total, b.facts) for b in told.bars] == [
                ("evolve round 1", 3, 40, {"kept": 2})
            ]
            assert told.stages == tuple(lines) and told.notes == ("begun",)
        told = read_progress(tmp_path)
        assert told is not None and told.bars == ()
    ended = read_progress(tmp_path)
    assert ended is not None and not ended.running
    assert inner.lines == ["begun"] and inner.seen == lines


def test_it_is_written_seldom_and_never_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / PROGRESS_NAME
    clock = 100.0
    monkeypatch.setattr("evolcoder.run_progress.time.monotonic", lambda: clock)
    with RecordedProgress(SilentProgress(), path) as progress, progress.bar("x", None) as bar:
        before = path.read_bytes()
        clock += 0.4
        bar.advance()
        assert path.read_bytes() == before
        clock += 0.2
        bar.advance()
        assert path.read_bytes() != before
    with RecordedProgress(SilentProgress(), tmp_path / "nowhere" / "p.json") as progress:
        progress.note("goes on")


def test_a_killed_run_is_not_taken_for_running(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from evolcoder.progress import SilentProgress\n"
        "from evolcoder.run_progress import RecordedProgress\n"
        "with RecordedProgress(SilentProgress(), Path(sys.argv[1])) as p, p.bar('train', 9):\n"
        "    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / PROGRESS_NAME)], check=False)
    told = read_progress(tmp_path)
    assert told is not None and not told.running and told.bars[0].name == "train"


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', '{"written": "x"}', "\xff"])
def test_a_broken_progress_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / PROGRESS_NAME).write_text(text, encoding="latin-1")
    assert read_progress(tmp_path) is None


def write_running(run: Path, **more: object) -> None:
    state = {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "written": time.time(),
        "stages": [{"title": f"evolve {HOSTILE}", "state": "running", "seconds": 30.0}],
        "bars": [{"name": HOSTILE, "done": 25, "total": 100, "seconds": 30.0, "facts": {HOSTILE: HOSTILE}}],
        "notes": [HOSTILE],
    }
    write_json_whole(run / PROGRESS_NAME, state | more)


def test_a_run_under_way_shows_its_bar_stage_and_scores(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=2, finished=False)
    write_running(run)
    page = Page(str(live_html(run)))
    assert "running" in page.text and "25 of 100" in page.text and "about 1 min 30 s left" in page.text
    assert "0 of 1 stages at most" in page.text and "last sign of life" in page.text
    assert "script" not in page.tags and "img" not in page.tags and "<script>document.title" in page.text
    assert live_run(run).state == "running"
    assert [point.round for point in live_run(run).scores[0].points] == [0, 1]


def test_a_run_that_ended_or_was_left_says_so(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=2)
    assert live_run(run).state == "finished" and "Kept:" in live_html(run)
    left = make_app_run(tmp_path / "left", rounds=1, finished=False)
    assert live_run(left).state == "stopped" and "continues it" in live_html(left)


def test_a_finished_run_that_works_again_is_running(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=2)
    write_running(run, bars=[{"name": "x", "done": 1, "total": None, "seconds": 1.0, "facts": {}}])
    assert live_run(run).state == "running" and "<progress" in live_html(run)


def test_a_broken_file_is_told_on_the_page(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=1)
    (run / "result.json").write_text("{")
    assert "result.json: not JSON" in Page(str(live_html(run))).text
    (run / "result.json").write_text(json.dumps({"best_round": 1, "stop": None}))
    assert "round 1" in Page(str(live_html(run))).text


def test_scores_that_a_judge_gave_are_called_what_they_are(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=2)
    for file in run.glob("round-*/evaluation/*/scores.json"):
        told = json.loads(file.read_text())
        for score in told["scores"]:
            score["settings"]["measure"] = "mean rating"
        file.write_text(json.dumps(told))
    compared = compare_page(KnownRuns(run, None), Place({"tab": "compare", "run": "run"}))
    assert "mean rating, %" in live_html(run) and "pass@1" not in live_html(run)
    assert "of mean rating" in compared and "pass@1" not in compared
