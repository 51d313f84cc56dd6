"""A run from the form to its end in a real browser: its plan, started, stopped half way, continued."""

from __future__ import annotations

import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.code_base.growing_shop import calls, make_shop
from tests.loop.conftest import new_task, teacher
from tests.models.byte_llama import save_tiny_model

from evolcoder.app.start_page import Launch, Launched, checked_launch, continued, overrides_of
from evolcoder.errors import RecipeError, UserError
from evolcoder.runs import read_jsonl

from .browsing import NARROW, Site, visiting

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'evolcoder[dev]'")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of a whole loop on a tiny model, in half a minute."""
    model = str(save_tiny_model(tmp_path / "model", max_position_embeddings=4096))
    data = {
        "name": "small",
        "seeds": {"limit": 12},
        "base": {"model": model},
        "rounds": {"max_rounds": 1, "rows_per_round": 4, "train_seeds": False},
        "evolve": {"max_tokens": 24, "instruction_max_tokens": 24},
        "train": {"max_steps": 2, "max_length": 512, "dtype": "fp32", "tracking": [], "prompt_style": "chat"},
        "evaluate": {"settings": {"style": "chat", "limit": 2, "max_tokens": 8}, "local": {"dtype": "fp32"}},
        "stop": {"rule": "paper-v1"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "small.yaml"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    from evolcoder.app.site import serve
    from evolcoder.app.widgets import AppOptions

    served = serve(AppOptions(runs=tmp_path / "runs", reviews=tmp_path / "reviews", port=0))
    yield Site(served.address, tmp_path / "runs" / "mine")
    served.close()


def held_back() -> tuple[threading.Event, threading.Event, Callable[[str], str]]:
    """Return what lets a teacher answer, what says that it was asked, and its answer."""
    may_answer, asked = threading.Event(), threading.Event()

    def answer(text: str) -> str:
        asked.set()
        may_answer.wait(100)
        return new_task(text)

    return may_answer, asked, answer


def test_a_run_is_started_stopped_and_continued_from_the_form(
    browser: Any, site: Site, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect = sync_api.expect
    may_answer, asked, answer = held_back()
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with teacher(answer) as server, visiting(browser, site, f"start&recipe={recipe}") as page:
        page.get_by_label("Name of the run").fill("mine")
        page.get_by_label("Teacher", exact=True).fill("openai:t")
        page.get_by_label("Teacher's endpoint").fill(server.url)
        page.get_by_label("Rounds at most").fill("none")
        page.get_by_role("button", name="Show the plan").click()
        expect(page.locator("#start-form .said")).to_contain_text("rounds.max_rounds")
        page.get_by_label("Rounds at most").fill("1")
        page.get_by_role("button", name="Show the plan").click()
        plan = page.locator("#start-result")
        expect(plan).to_contain_text("evolve round 1")
        expect(plan).to_contain_text("price not known")
        expect(plan).to_contain_text(f"--set teacher.base_url={server.url}")
        page.get_by_role("button", name="Start it in").click()
        expect(page.locator("#live .state-now")).to_have_text("running")
        expect(page.locator("#live .bar-line").first).to_contain_text("evolve")
        assert asked.wait(100)
        with page.expect_response("**/do/stop"):
            page.get_by_role("button", name="Stop it").click()
        may_answer.set()
        expect(page.locator("#live .state-now")).to_have_text("stopped")
        page.get_by_role("button", name="Continue it").click()
        expect(page.locator("#live .state-now")).to_have_text("finished")
        page.get_by_role("link", name="Data", exact=True).click()
        expect(page.locator("#data-detail")).to_contain_text("Its parent")
    assert len(list(read_jsonl(site.run / "round-1" / "evolved.jsonl"))) == 4


def test_a_run_of_a_code_base_is_planned_and_started_from_the_form(
    browser: Any, site: Site, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect = sync_api.expect
    shop = make_shop(tmp_path)
    data = yaml.safe_load(recipe.read_text())
    data |= {"code": ".", "seeds": {"source": "code", "limit": 6}}
    data["evaluate"]["benchmarks"] = []
    data["stop"] = {"rule": "max_rounds", "benchmark": "code"}
    recipe.write_text(yaml.safe_dump(data))
    may_answer = threading.Event()

    def answer(text: str) -> str:
        may_answer.wait(100)
        return calls(text)

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with teacher(answer) as server, visiting(browser, site, f"start&recipe={recipe}", NARROW) as page:
        page.get_by_label("Name of the run").fill("mine")
        page.get_by_label("Code base").fill(str(tmp_path / "nowhere"))
        page.get_by_label("Teacher", exact=True).fill("openai:t")
        page.get_by_label("Teacher's endpoint").fill(server.url)
        page.get_by_role("button", name="Show the plan").click()
        expect(page.locator("#start-form .said")).to_contain_text("no such folder")
        page.get_by_label("Code base").fill(str(shop))
        page.get_by_role("button", name="Show the plan").click()
        plan = page.locator("#start-result")
        expect(plan).to_contain_text("make seeds")
        expect(plan).to_contain_text("snippets of shop: 6")
        expect(plan).to_contain_text("make the private benchmark")
        expect(plan).to_contain_text(f"evolcoder seeds from-code {shop}")
        page.get_by_role("button", name="Start it in").click()
        expect(page.locator("#live .state-now")).to_have_text("running")
        with page.expect_response("**/do/stop"):
            page.get_by_role("button", name="Stop it").click()
        may_answer.set()
        expect(page.locator("#live .state-now")).to_have_text("stopped")
        assert not (site.run / "seeds.jsonl").exists(), "stopped while the seeds were made"
        page.get_by_role("button", name="Continue it").click()
        expect(page.locator("#live .state-now")).to_have_text("finished")
    assert {row["repository"] for _, row in read_jsonl(site.run / "seeds.jsonl")} == {"shop"}


def test_a_form_tells_only_what_differs_from_its_recipe(tmp_path: Path) -> None:
    now = {"name": "quickstart", "rounds.max_rounds": "2", "seeds.limit": "12"}
    form = {"name": "mine", "rounds.max_rounds": " 2 ", "seeds.limit": "", "further": "train.layers=4\n\n"}
    changed = overrides_of(form, now)
    assert changed == ["name=mine", "seeds.limit=null", "train.layers=4"]
    launch = checked_launch("quickstart", changed, tmp_path)
    assert launch.folder == tmp_path / "mine"
    assert launch.words[:4] == ["evolcoder", "run", "quickstart", "--set"]
    assert continued(launch.folder).words[2] == str(tmp_path / "mine" / "recipe.yaml")
    with pytest.raises(RecipeError, match="KEY=VALUE is expected"):
        overrides_of({"further": "train.layers"}, now)
    with pytest.raises(RecipeError, match=r"train\.layer"):
        checked_launch("quickstart", ["train.layer=4"], tmp_path)


def test_of_many_clicks_at_once_one_starts_the_run(tmp_path: Path) -> None:
    launched, launch = Launched(), Launch(str(tmp_path / "none.yaml"), (), tmp_path / "mine")

    def click(_: int) -> str:
        try:
            launched.start(launch)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(click, range(8)))
    assert sorted(told) == ["", *["mine is running"] * 7]
    while launched.running(launch.folder):
        time.sleep(0.05)


def test_runs_that_cannot_be_read_are_told_and_the_others_are_shown(site: Site) -> None:
    for name, text in {"odd": b"name: \xff\n", "mine": b"name: mine\n"}.items():
        (site.run.parent / name).mkdir(parents=True)
        (site.run.parent / name / "recipe.yaml").write_bytes(text)
    (site.run.parent / "folder" / "recipe.yaml").mkdir(parents=True)
    (site.run.parent / "closed").mkdir(mode=0)
    for run in ("odd", "folder", "closed", "%C2%A7" * 200):
        for part in ("run", "data", "start", "reinforce", "compare"):
            with urllib.request.urlopen(f"{site.address}&tab={part}&run={run}") as reply:
                page = reply.read().decode()
            assert '<option value="mine"' in page
            assert (
                part in ("start", "compare")
                or run == "closed"
                or "cannot be read" in page
                or "File name" in page
            )


def test_a_log_that_is_there_is_written_on_and_the_failure_is_the_new_ones(tmp_path: Path) -> None:
    log = tmp_path / "mine.log"
    log.write_text("of an earlier run\n")
    launched, folder = Launched(), tmp_path / "mine"
    launched.start(Launch(str(tmp_path / "none.yaml"), (), folder))
    while launched.running(folder):
        time.sleep(0.05)
    assert "none.yaml" in launched.failure(folder) and "earlier" not in launched.failure(folder)
    assert log.read_text().startswith("of an earlier run\n")


def test_a_run_started_by_an_app_in_the_background_stops_too(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell lets what it puts into the background ignore SIGINT, and children inherit that."""
    may_answer, asked, answer = held_back()
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    launched, before = Launched(), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with teacher(answer) as server:
            changed = ["teacher.model=openai:t", f"teacher.base_url={server.url}", "name=mine"]
            launch = checked_launch(str(recipe), changed, tmp_path)
            launched.start(launch)
            assert asked.wait(100)
            launched.stop(launch.folder)
            may_answer.set()
            while launched.running(launch.folder):
                time.sleep(0.05)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (launch.folder / "result.json").exists()
