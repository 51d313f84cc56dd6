"""The report as a reader meets it: what it says, what it never does, and what it survives."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest

from evolcoder.errors import DataError
from evolcoder.report import write_report
from evolcoder.report.run_folder import read_run
from evolcoder.report.scores import benchmark_scores
from evolcoder.report.table import p_value
from evolcoder.runs import write_json_whole

from .conftest import HOSTILE, RunBuilder


class Reader(HTMLParser):
    """Collects the tags, the attributes that load something, and the visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.pieces: list[str] = []
        self.sections: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if tag == "section" and name == "id":
                self.sections.append(value or "")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def test_a_finished_run_has_every_section_and_says_the_result(build_run: RunBuilder) -> None:
    page = read(write_report(build_run()))
    assert page.sections == [
        "scores", "rounds", "data", "lineage", "training", "problems", "times", "settings", "reproduce",
    ]  # fmt: skip
    assert "pass@1 on humaneval after round 2, up 7.5 points from 2.5% of the base model" in page.text
    assert "round 3 scored 5.0%, below round 2 with 10.0%" in page.text
    assert "evolcoder run recipes/quickstart.yaml --dir runs/quickstart" in page.text


def test_a_subset_and_a_selecting_benchmark_are_told(build_run: RunBuilder) -> None:
    page = read(write_report(build_run(problems=40)))
    assert "A subset: 40 of the 164 problems." in page.text
    assert "is therefore not a clean test score" in page.text
    whole = read(write_report(build_run("whole", problems=164)))
    assert "A subset" not in whole.text


def test_a_difference_that_may_be_chance_is_called_that(build_run: RunBuilder) -> None:
    assert "this may be chance" in read(write_report(build_run(passed=(1, 2, 3, 2)))).text
    clear = build_run("clear", problems=100, passed=(2, 30, 60, 40))
    assert "this may be chance" not in read(write_report(clear)).text


def test_a_base_model_that_stayed_best_is_shown_beside_the_best_round(build_run: RunBuilder) -> None:
    page = read(write_report(build_run(passed=(9, 3, 4, 2))))
    assert "by the base model: no round did better" in page.text
    assert page.text.index("round 2 10.0 [") < page.text.index("Score by round")
    assert "The run keeps the base model." in page.text


def test_model_text_stays_text(build_run: RunBuilder) -> None:
    page = read(write_report(build_run(hostile=True)))
    assert HOSTILE in "".join(page.pieces)
    assert not page.tags & {"script", "img", "iframe", "object", "embed"}
    assert not page.handlers


def test_the_page_asks_no_other_host(build_run: RunBuilder) -> None:
    path = write_report(build_run())
    page = read(path)
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    style = re.findall(r"<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.DOTALL)
    assert len(style) == 1 and "url(" not in style[0] and "@import" not in style[0]
    assert "Content-Security-Policy" in path.read_text(encoding="utf-8")


def test_a_run_under_way_shows_what_is_there(build_run: RunBuilder) -> None:
    page = read(write_report(build_run(finished=False, rounds=2)))
    assert "This run is not finished." in page.text
    assert "humaneval is both the benchmark reported and the one that chose the round" in page.text
    assert "training" in page.sections and "times" not in page.sections


@pytest.mark.parametrize("finished", [True, False])
def test_no_round_is_picked_by_a_test(build_run: RunBuilder, finished: bool) -> None:
    run = build_run(finished=finished, rounds=2)
    deciding = benchmark_scores(read_run(run), read_run(run).rounds)[0]
    other = next(point.round for point in deciding.points if point.round != deciding.best)
    for point in deciding.points:
        passed = {f"MBPP/{i}": [point.round == other] for i in range(9)}
        score = {"benchmark": "mbpp", "k": 1, "value": float(point.round == other), "n_problems": 9}
        path = run / f"round-{point.round}" / "evaluation" / "mbpp" / "scores.json"
        write_json_whole(path, {"scores": [score], "problems": passed, "reasons": {}})
    views = benchmark_scores(read_run(run), read_run(run).rounds)
    assert [(view.name, view.best) for view in views] == [
        ("humaneval", deciding.best),
        ("mbpp", deciding.best),
    ]


def test_stages_that_are_done_are_timed_before_the_run_is(build_run: RunBuilder) -> None:
    run = build_run(finished=False, rounds=1)
    (run / "stages").mkdir()
    (run / "stages" / "seeds.json").write_text('{"name": "seeds", "key": "k", "seconds": 90.0}')
    page = read(write_report(run))
    assert "times" in page.sections and "1 min 30 s" in page.text


@pytest.mark.parametrize("parts", ["recipe.yaml", "round-0", "round-1", "seeds.jsonl recipe.yaml"])
def test_any_single_part_of_a_run_gives_a_report(build_run: RunBuilder, tmp_path: Path, parts: str) -> None:
    run, alone = build_run(rounds=1), tmp_path / "alone"
    alone.mkdir()
    for part in parts.split():
        source = run / part
        if source.is_dir():
            shutil.copytree(source, alone / part)
        else:
            shutil.copy(source, alone / part)
    page = read(write_report(alone))
    assert {"data", "settings", "reproduce"} <= set(page.sections)


def test_a_run_without_training_has_no_loss_curves(build_run: RunBuilder) -> None:
    assert "training" not in read(write_report(build_run(trained=False))).sections


def test_rounds_of_an_earlier_longer_run_are_left_out(build_run: RunBuilder) -> None:
    run = build_run(rounds=3)
    result = json.loads((run / "result.json").read_text())
    result["rounds"] = result["rounds"][:3]
    (run / "result.json").write_text(json.dumps(result))
    result["stop"] = {"rule": "max_rounds", "reason": "max_rounds = 2 reached"}
    (run / "result.json").write_text(json.dumps(result))
    page = read(write_report(run))
    assert "round 2" in page.text and "loss" in page.text
    shown = [piece for piece in page.pieces if piece.strip() in ("round 3", "round 3 · best")]
    assert not shown


def test_several_samples_a_problem_are_told(build_run: RunBuilder) -> None:
    assert "40 problems, 400 samples" in read(write_report(build_run(samples=10))).text


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"recipe\.yaml or round-0 is expected"):
        write_report(tmp_path)


def test_a_broken_row_or_file_is_named(build_run: RunBuilder) -> None:
    run = build_run(rounds=1)
    (run / "result.json").write_text("{")
    with pytest.raises(DataError, match=r"result\.json: not JSON"):
        write_report(run)
    (run / "result.json").unlink()
    path = run / "round-1" / "evolved.jsonl"
    path.write_text(path.read_text() + "oops\n")
    with pytest.raises(DataError, match=r"evolved\.jsonl: line 36: not a JSON object"):
        write_report(run)


def test_p_values_are_never_shown_smaller_than_they_can_be_known() -> None:
    assert (p_value(0.38), p_value(1.8e-15), p_value(1.0)) == ("p = 0.38", "p < 0.001", "p = 1")


def test_plain_losses_are_read_as_well_as_records(build_run: RunBuilder) -> None:
    run = build_run(rounds=1)
    path = run / "round-1" / "checkpoint" / "training.json"
    with_records = read(write_report(run))
    facts = json.loads(path.read_text())
    del facts["steps"]
    path.write_text(json.dumps(facts))
    assert read(write_report(run)).pieces == with_records.pieces


def test_chromium_shows_it_without_error_or_request(build_run: RunBuilder, tmp_path: Path) -> None:
    path = write_report(build_run(hostile=True))
    page = in_chromium(path, tmp_path)
    assert "evolcoder report</title>" in page.dom, "the script in a seed must not have set the title"
    assert not page.console
    assert not page.asked


def test_chromium_refuses_a_script_or_picture_that_got_in(build_run: RunBuilder, tmp_path: Path) -> None:
    path = write_report(build_run())
    html = path.read_text(encoding="utf-8")
    path.write_text(html.replace("</body>", f"{HOSTILE}</body>"), encoding="utf-8")
    page = in_chromium(path, tmp_path)
    assert "evolcoder report</title>" in page.dom
    assert len(page.console) >= 2 and all("Content Security Policy" in line for line in page.console)
    assert not page.asked


class Shown(NamedTuple):
    dom: str
    console: list[str]
    asked: list[str]
    """Addresses asked for, without the browser's own (updates, clock, accounts)."""


def in_chromium(path: Path, folder: Path) -> Shown:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a browser: apt-get install chromium")
    log = folder / "net.json"
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}", "--enable-logging=stderr", "--virtual-time-budget=2000",
            "--window-size=390,2000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    urls = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text(errors="replace")))
    own = re.compile(r"https?://[\w.-]*\.(google|googleapis|gvt1)\.com/")
    return Shown(
        dom=done.stdout,
        console=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
        asked=[url for url in urls if not own.match(url)],
    )


def test_the_way_from_asked_to_kept_names_copies_duplicates_and_executed_answers(
    build_run: RunBuilder,
) -> None:
    run = build_run(rounds=1)
    rows = [json.loads(line) for line in (run / "round-1" / "evolved.jsonl").read_text().splitlines()]
    rows = [{**row, "verdict": "repaired" if i < 4 else "passed"} for i, row in enumerate(rows)]
    (run / "round-1" / "evolved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    gone = {"unchanged": 9, "failed tests": 5, "duplicate": 3, "contaminated": 2}
    summary = json.loads((run / "round-1" / "summary.json").read_text())
    summary |= {"asked": len(rows) + sum(gone.values()), "kept": len(rows), "eliminated": gone}
    (run / "round-1" / "summary.json").write_text(json.dumps(summary))
    seeds = {"asked": 121, "kept": 120, "eliminated": {"contaminated": 1}, "screened_against": ["mbpp-400"]}
    (run / "seeds.json").write_text(json.dumps(seeds))
    text = read(write_report(run)).text
    kept = len(rows)
    steps = text[text.index("on the way") :]
    for told in (
        f"asked {kept + 19}",
        "unchanged −9",
        f"left to be executed {kept + 10}",
        "failed tests −5",
        f"of the kept: passed {kept - 4}",
        "of the kept: repaired 4",
        f"left to be looked up {kept + 5}",
        "duplicate −3",
        "contaminated −2",
        f"kept {kept}",
    ):
        assert told in steps
        steps = steps[steps.index(told) :] if not told.startswith("of the kept") else steps
    assert (
        "Copies of problems of mbpp-400 were looked for in every evolved row, and in the 121 seeds: 1" in text
    )


def test_what_the_rule_said_after_each_round_is_told(build_run: RunBuilder) -> None:
    run = build_run()
    result = json.loads((run / "result.json").read_text())
    result["decisions"] = [
        {"round": 0, "stop": False, "reason": ""},
        {"round": 1, "stop": False, "reason": "round 1 scored 7.5%, above the base model"},
        {"round": 2, "stop": True, "reason": "enough"},
    ]
    (run / "result.json").write_text(json.dumps(result))
    text = read(write_report(run)).text
    assert "base go on round 1 go on: round 1 scored 7.5%, above the base model round 2 stop: enough" in text


def test_the_loss_on_held_out_rows_is_drawn_beside_the_training_loss(build_run: RunBuilder) -> None:
    run = build_run(rounds=1)
    path = run / "round-1" / "checkpoint" / "training.json"
    evaluations = [{"step": 0, "loss": 1.9}, {"step": 30, "loss": 1.2}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "evaluations": evaluations}))
    html = write_report(run).read_text()
    assert "round 1, held out" in html and 'class="curve c1 dashed"' in html
    assert "Dashed: the loss on rows held out of training." in html
    assert "held out" not in write_report(build_run("plain", rounds=1)).read_text()


def test_what_a_judge_said_is_not_told_of_programs_that_passed(build_run: RunBuilder) -> None:
    run = build_run()
    for path in run.glob("round-*/evaluation/*/scores.json"):
        found = json.loads(path.read_text())
        for score in found["scores"]:
            score["settings"]["measure"] = "rating, % of 10"
        path.write_text(json.dumps(found))
    text = read(write_report(run)).text

    assert "rating, % of 10 on humaneval" in text
    assert "as before better worse nothing, as before" in text
    assert "passed, as before" not in text and "programs ended" not in text
