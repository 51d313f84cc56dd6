"""Learning from execution in report and app: its curves and answers, finished, under way, or of rft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evolcoder.app.known_runs import KnownRuns, RunView
from evolcoder.app.reinforce_page import reinforce_page
from evolcoder.app.widgets import Place
from evolcoder.errors import DataError
from evolcoder.reinforce.curves import Curves, HeldOutScore, PolicyStep
from evolcoder.reinforce.reward import Reward
from evolcoder.reinforce.sampler import Rollout, write_rollouts
from evolcoder.report.page import report_html, write_report
from evolcoder.report.reinforce_section import answers_over_time, figures, learnings
from evolcoder.report.run_folder import read_run
from evolcoder.runs import write_json_whole

from .conftest import HOSTILE, RunBuilder


def curves(steps: int, kl: float = 0.0) -> Curves:
    zeros: dict[str, Any] = dict.fromkeys(PolicyStep.__dataclass_fields__, 0.0) | {
        "watched": None,
        "gap": None,
    }
    records = [
        PolicyStep(**zeros | {"step": n + 1, "reward": n / steps, "tokens": 100.0 - n, "kl": kl})
        for n in range(steps)
    ]
    held_out = [HeldOutScore(0, 0.1, None, 40, 1), HeldOutScore(steps, 0.3, None, 40, 1)]
    return Curves(records, held_out)


def add_rollouts(out: Path, steps: int) -> None:
    for step in range(1, steps + 1):
        earned = [Reward(0.0, 0.0, None, False, "failed"), Reward(1.0, 1.0, None, True, "passed")]
        rollouts = [
            Rollout(f"task/{step}", (1, 2), (-0.1, -0.2), False, f"step {step}: {HOSTILE}", reward)
            for reward in earned
        ]
        write_rollouts(out.with_name(f"{out.name}.rollouts") / "f" / f"step-{step:06d}-0.jsonl", rollouts)


@pytest.fixture
def finished(build_run: RunBuilder) -> Path:
    run = build_run()
    out = run / "round-1" / "checkpoint"
    facts = json.loads((out / "training.json").read_text())
    told = {"settings": {"method": "grpo"}, **curves(30, kl=0.01).facts()}
    write_json_whole(out / "training.json", {**facts, "reinforce": told})
    add_rollouts(out, 12)
    return run


def test_the_curves_of_a_finished_model_are_drawn_by_step(finished: Path) -> None:
    (learning,) = learnings(read_run(finished))
    assert (learning.label, learning.method, learning.finished) == ("round 1", "grpo", True)
    titles = [figure.title for figure in figures(learning)]
    assert titles[:3] == ["Reward", "Held-out tasks", "Length of an answer, tokens"]
    assert any(title.startswith("KL") for title in titles) and "Shares" in titles
    reward = figures(learning)[0]
    assert [line.name for line in reward.lines] == ["reward", "rewarded tests passed"], "no watched tests"
    assert [step for step, _ in answers_over_time(learning)] == [1, 5, 8, 12]
    assert all(answer.reason == "passed" for _, answer in answers_over_time(learning)), "the best of each"


def test_report_and_app_show_them_and_answers_stay_text(finished: Path) -> None:
    report = report_html(read_run(finished))
    assert "Learning from execution" in report and "Held-out tasks" in report and "task/12" in report
    page = str(reinforce_page(RunView(finished), Place({"tab": "reinforce", "step": "5"})))
    assert "task/5" in page and "Entropy" in page and "task/4" not in page
    for html in (report, page):
        assert "<script>document" not in html and "<img" not in html


def test_a_model_under_way_shows_the_curves_of_its_newest_checkpoint(build_run: RunBuilder) -> None:
    run = build_run(rounds=1)
    out = run / "round-1" / "checkpoint"
    (out / "training.json").unlink()
    add_rollouts(out, 3)
    for step in (10, 20):
        facts = {"step": step, "curves": curves(step).facts()}
        write_json_whole(out.with_name("checkpoint.steps") / f"step-{step:06d}" / "checkpoint.json", facts)
    (learning,) = learnings(read_run(run))
    assert not learning.finished and len(learning.steps) == 20
    assert not any(figure.title.startswith("KL") for figure in figures(learning)), "it was not asked for"


def test_rejection_sampling_shows_its_rounds(build_run: RunBuilder) -> None:
    run = build_run(rounds=1)
    rounds = [{"round": 1, "passed": 0.25, "new": 7, "rows": 7}]
    write_json_whole(run / "round-1" / "checkpoint.rollouts" / "rounds.json", rounds)
    (learning,) = learnings(read_run(run))
    assert (learning.method, learning.finished, figures(learning)) == ("rft", True, [])
    assert "25.0%" in reinforce_page(RunView(run), Place({"tab": "reinforce"}))


def test_a_run_without_it_says_so(build_run: RunBuilder) -> None:
    run = build_run(rounds=1)
    assert "learnt from execution" in reinforce_page(RunView(run), Place({}))
    assert "Learning from execution" not in report_html(read_run(run))


def test_a_model_that_learnt_outside_a_run_is_opened_as_one(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    add_rollouts(out, 3)
    page = str(reinforce_page(RunView(out), Place({"tab": "reinforce"})))
    assert "mine: grpo" in page and "under way" in page and "task/3" in page, "before its end"
    with pytest.raises(DataError, match="before its learning ends"):
        write_report(out)
    out.mkdir()
    told = {"settings": {"method": "grpo"}, **curves(30).facts()}
    write_json_whole(out / "training.json", {"base": "x", "reinforce": told})
    report = write_report(out).read_text()
    assert "Learning from execution" in report and "mine: grpo" in report and "task/3" in report
    runs = KnownRuns(None, tmp_path)
    assert runs.names() == ["mine"]
    assert "mine: grpo" in str(reinforce_page(runs.view("mine"), Place({"tab": "reinforce"})))
