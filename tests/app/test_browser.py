"""The app in a real browser: every part of it clicked through, and a whole blind review.

Every visit ends with the same checks: no error on the console, no request to another host, the title as it
was, and nothing wider than the window, though the run and the models write hostile text everywhere.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.models.byte_llama import save_tiny_model

from evolcoder.report import write_report
from evolcoder.run_progress import PROGRESS_NAME
from evolcoder.runs import read_jsonl, write_json_whole

from .app_run import HOSTILE, make_app_run
from .browsing import NARROW, PATIENCE_MS, WIDE, Site, visiting

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'evolcoder[dev]'")

AXE = Path(__file__).resolve().parents[2] / "build" / "node_modules" / "axe-core" / "axe.min.js"
SCRIPT = "<script>document.title = 'owned'</script>"


class Endpoint(ThreadingHTTPServer):
    """An OpenAI-compatible server that streams hostile text; a question with "forever" never ends.

    While `may_end` is clear, every answer stays unfinished, so that what shows only then can be looked at.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Streams)
        self.bodies: list[dict[str, Any]] = []
        self.broken_off = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Streams(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        forever = "forever" in body["messages"][-1]["content"]
        answer = f"```html\n{HOSTILE}\n```\n{HOSTILE}"
        pieces = itertools.repeat("word " * 8) if forever else re.findall(r".{1,40}", answer, re.DOTALL)
        try:
            for piece in pieces:
                event = {"choices": [{"index": 0, "delta": {"content": piece}}]}
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                time.sleep(0.03)
            self.server.may_end.wait(PATIENCE_MS / 1000)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.broken_off.set()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Iterator[Site]:
    from evolcoder.app.site import serve
    from evolcoder.app.widgets import AppOptions

    folder = tmp_path_factory.mktemp("app")
    run = make_app_run(folder / "run", rounds=3, problems=6)
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: quickstart", f"name: {json.dumps(HOSTILE)}"))
    save_tiny_model(run / "round-1" / "checkpoint", seed=1)
    save_tiny_model(run / "round-2" / "checkpoint", seed=2)
    options = AppOptions(
        run=run,
        runs=folder / "runs",
        models=["openai:hostile"],
        base_url=endpoint.url,
        reviews=folder / "reviews",
        port=0,
    )
    served = serve(options)
    yield Site(served.address, run)
    served.close()


def open_part(page: Any, part: str) -> None:
    page.get_by_role("link", name=part, exact=True).click()
    sync_api.expect(page.locator(f"main[data-tab={part.lower()}]")).to_be_visible()


def choose(page: Any, name: str, label: str) -> None:
    """Name a model: one of the list by how it begins, or any other."""
    known = page.locator("#chat-models option").evaluate_all("all => all.map(one => one.value)")
    page.locator(f"#chat-{name}").fill(next((one for one in known if one.startswith(label)), label))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_live_view_follows_a_run(browser: Any, site: Site, width: int) -> None:
    expect = sync_api.expect
    (site.run / PROGRESS_NAME).unlink(missing_ok=True)
    with visiting(browser, site, "run", width) as page:
        live = page.locator("#live")
        expect(live).to_contain_text("finished")
        expect(live).to_contain_text(SCRIPT)
        for done in (25, 75):
            facts = {"total": 100, "seconds": 9.0, "facts": {"kept": HOSTILE}}
            bar = {"name": "evolve round 4", "done": done, **facts}
            here = {"pid": os.getpid(), "host": os.uname().nodename}
            state = {**here, "written": time.time(), "notes": [HOSTILE]}
            stages = [{"title": f"evolve {HOSTILE}", "state": "running", "seconds": 30.0}]
            write_json_whole(site.run / PROGRESS_NAME, {**state, "bars": [bar], "stages": stages})
            expect(live.locator(".bar-line")).to_contain_text(f"{done} of 100")
        expect(live).to_contain_text("running")
    (site.run / PROGRESS_NAME).unlink()


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_two_models_are_asked_side_by_side(browser: Any, site: Site, endpoint: Endpoint, width: int) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "chat", width) as page:
        choose(page, "model", "round 1")
        choose(page, "second", "openai:hostile")
        page.locator("#chat-question").fill(f"hello {HOSTILE}")
        endpoint.may_end.clear()
        page.locator("#chat-send").click()
        left, right = page.locator("#chat-left"), page.locator("#chat-right")
        expect(right.locator(".turn.writing")).to_contain_text(SCRIPT)
        endpoint.may_end.set()
        expect(right.locator(".turn.done")).to_contain_text("![picture](https://evil.example/y.png)")
        expect(left.locator(".turn.done")).to_contain_text("tokens in")
        expect(left.locator(".question")).to_contain_text(SCRIPT)
        open_part(page, "Data")
        open_part(page, "Chat")  # what was said is still there
        expect(right.locator(".turn.done")).to_have_count(1)
        question = page.locator("#chat-question")
        question.fill("and")
        question.press("Shift+Enter")
        question.press_sequentially("again")
        assert question.input_value() == "and\nagain"
        question.press("Enter")
        expect(right.locator(".turn.done")).to_have_count(2)
        expect(left.locator(".turn.done")).to_have_count(2)
    first, second = endpoint.bodies[-2:]
    assert (first["temperature"], first["max_tokens"], first["stream"]) == (0, 1024, True)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]


def test_an_answer_can_be_stopped_and_another_model_named(
    browser: Any, site: Site, endpoint: Endpoint
) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "chat") as page:
        choose(page, "model", "openai:hostile")
        page.locator("#chat-question").fill("go on forever")
        page.locator("#chat-question").press("Enter")
        left = page.locator("#chat-left")
        expect(left.locator(".turn.writing .answer")).to_contain_text("word word")
        page.locator("#chat-stop").click()
        expect(left.locator(".turn.stopped .answer")).to_contain_text("word word")
        assert endpoint.broken_off.wait(PATIENCE_MS / 1000), "the endpoint must not be kept writing"
        choose(page, "model", "no-such-model")
        page.locator("#chat-question").fill("hello?")
        page.locator("#chat-question").press("Enter")
        expect(left.locator(".turn.failed")).to_contain_text("names no model")
        page.locator("#chat-clear").click()
        expect(left.locator(".turn")).to_have_count(0)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_data_is_browsed_by_filter_page_and_tree(browser: Any, site: Site, width: int) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "data", width) as page:
        rows, detail = page.locator("#data-rows"), page.locator("#data-detail")
        expect(rows).to_contain_text("1–20 of ")
        expect(page.get_by_role("combobox", name="Rows")).to_have_value("kept")
        rows.get_by_role("link", name="On →").click()
        expect(rows).to_contain_text("21–40 of ")
        rows.get_by_role("link", name="← Back").click()
        expect(rows).to_contain_text("1–20 of ")
        page.get_by_role("searchbox").fill("document.TITLE = 'owned'")
        page.get_by_role("searchbox").press("Enter")
        expect(rows).not_to_contain_text("1–20 of ")
        rows.locator(".pick", has_text="round 1").first.click()
        expect(detail).to_be_in_viewport()
        expect(detail).to_contain_text(SCRIPT)
        expect(detail.locator("p.text ins").first).to_be_visible()
        expect(detail).to_contain_text("Its parent seed-00000")
        expect(detail.locator("ul.tree [aria-current]")).to_have_count(1)
        expect(detail.locator("ul.tree ins").first).to_be_visible()
        detail.locator("ul.tree .pick").first.click()
        expect(detail.locator("ul.tree .pick").first).to_have_attribute("aria-current", "true")
        page.reload()
        expect(detail.locator("ul.tree .pick").first).to_have_attribute("aria-current", "true")
        if width == NARROW:
            expect(rows).not_to_be_visible()
            page.get_by_role("link", name="← All rows").click()
            expect(rows).to_be_visible()


def test_data_is_filtered_by_reason(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "data") as page:
        page.get_by_role("combobox", name="Eliminated because").select_option("unchanged")
        expect(page.locator("#data-rows .tag.bad").first).to_have_text("unchanged")
        expect(page.locator("#data-rows .tag", has_text="seed")).to_have_count(0)
        page.get_by_role("searchbox").fill("nowhere to be found")
        page.get_by_role("searchbox").press("Enter")
        expect(page.locator("#data-rows .empty")).to_have_text("No rows match.")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_problems_show_samples_verdicts_and_the_diff(browser: Any, site: Site, width: int) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "problems", width) as page:
        lines, detail = page.locator("#problem-rows"), page.locator("#problem-detail")
        expect(lines).to_contain_text("1–6 of 6 problems")
        if width == NARROW:
            expect(detail).not_to_be_visible()
        lines.locator(".pick").last.click()
        expect(lines.locator(".pick[aria-current]")).to_have_count(1)
        expect(detail).to_be_in_viewport()
        expect(detail).to_contain_text("From base to round 3")
        expect(detail.locator("pre.diff .came").first).to_be_visible()
        expect(detail.locator("pre.diff .hl-keyword").first).to_have_text("return")
        expect(detail).to_contain_text(SCRIPT)
        if width == NARROW:
            page.get_by_role("link", name="← All problems").click()
        page.get_by_role("combobox", name="Change").select_option("gained")
        expect(lines).not_to_contain_text("of 6 problems")


def test_problems_open_on_the_first_that_changed_and_a_link_on_the_one_it_names(
    browser: Any, site: Site
) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "problems") as page:
        chosen = page.locator("#problem-rows .pick[aria-current]")
        marks = chosen.locator(".mark")
        expect(marks.first).not_to_have_text(marks.last.inner_text())
    with visiting(browser, site, "problems&id=HumanEval/12") as page:
        expect(page.locator("#problem-detail h2")).to_have_text("HumanEval/12")
        page.keyboard.press("j")
        expect(page.locator("#problem-detail h2")).to_have_text("HumanEval/16")
        assert "tab=problems" in page.url and "id=HumanEval%2F16" in page.url
        page.keyboard.press("k")
        expect(page.locator("#problem-detail h2")).to_have_text("HumanEval/12")
        page.reload()
        expect(page.locator("#problem-detail h2")).to_have_text("HumanEval/12")
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.get_by_role("searchbox").press("Tab")
        page.keyboard.press("?")
        expect(page.locator("#keys")).not_to_be_visible()  # a key typed into a field is the field's
        page.locator("main").focus()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        page.keyboard.press("Escape")
        page.go_back()
        expect(page.locator("#problem-detail h2")).to_have_text("HumanEval/16")


def test_an_app_that_does_not_answer_is_told_with_a_way_on(browser: Any, site: Site) -> None:
    page = browser.new_page()
    page.goto(f"{site.address}&tab=problems")
    page.route("**/*", lambda route: route.abort())
    page.locator("#problem-rows .pick").last.click()
    sync_api.expect(page.get_by_role("alert")).to_contain_text("The app does not answer")
    page.unroute("**/*")
    page.get_by_role("link", name="Try again").click()
    sync_api.expect(page.get_by_role("alert")).to_have_count(0)
    page.close()


def test_two_models_are_compared_by_the_problems_won_and_lost(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "compare") as page:
        expect(page.locator("#compare-found")).to_contain_text("run, round 3 against run, base")
        expect(page.locator("#compare-detail")).to_contain_text("From run, base to run, round 3")
        page.get_by_role("combobox", name="This model").select_option("run:1")
        expect(page.locator("#compare-found")).to_contain_text("run, round 1 against run, base")
        page.get_by_role("combobox", name="against").select_option("run:1")
        expect(page.locator("#compare-found")).to_contain_text("Won: 0")


def test_a_whole_blind_review_by_keyboard(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "review") as page:
        expect(page.locator("#review-new input[type=checkbox]")).to_have_count(4)
        page.get_by_label("Tasks, at most").fill("4")
        page.get_by_role("button", name="Set it up").click()
        expect(page.locator("main")).to_contain_text("Ready: 4 pairs")
        page.locator("#review-name").fill("Ann <b>")
        page.locator("#review-go").click()
        asked = page.locator("#review-question")
        expect(asked).to_contain_text("task 1 of 4")
        expect(page.locator("#review-task")).to_contain_text(SCRIPT)
        told = page.locator("#review-vote").inner_text().replace("(round-0)", "").replace("(round-3)", "")
        assert "base" not in told and "round 3" not in told
        for key, expected in [("1", "readability"), ("3", "correctness"), ("2", "readability")]:
            page.keyboard.press(key)
            expect(asked.locator(f"h2[data-criterion={expected}]")).to_be_visible()
        expect(asked).to_contain_text("task 2 of 4")
        open_part(page, "Data")
        open_part(page, "Review")
        page.reload()
        expect(asked).to_contain_text("task 2 of 4")
        expect(asked.locator("h2[data-criterion=readability]")).to_be_visible()
        page.keyboard.press("u")
        expect(asked.locator("h2[data-criterion=correctness]")).to_be_visible()
        page.keyboard.press("ArrowLeft")
        expect(asked.locator("h2[data-criterion=readability]")).to_be_visible()
        page.keyboard.press("ArrowRight")
        for number in (3, 4):
            expect(asked).to_contain_text(f"task {number} of 4")
            page.keyboard.press("1")
            expect(asked.locator("h2[data-criterion=readability]")).to_be_visible()
            page.keyboard.press("2")
        expect(asked).to_contain_text("All 4 tasks are judged")
        page.locator("#review-leave").click()
        page.get_by_role("link", name="Results (they name the models)").click()
        expect(page.locator("#results")).to_contain_text("Votes by Ann <b> (8)")
    (votes,) = site.run.parent.glob("reviews/*/votes.jsonl")
    rows = [row for _, row in read_jsonl(votes)]
    assert len(rows) == 9, "eight votes, one of them cast twice"
    assert {row["reviewer"] for row in rows} == {"Ann <b>"}


def test_a_second_reviewer_on_a_phone_and_how_far_they_agree(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "review", NARROW, has_touch=True) as page:
        page.locator("#review-name").fill("Bob")
        page.locator("#review-go").click()
        asked = page.locator("#review-question")
        for number in range(1, 5):
            expect(asked).to_contain_text(f"task {number} of 4")
            page.locator("#vote-a").click()
            expect(asked.locator("h2[data-criterion=readability]")).to_be_visible()
            page.locator("#vote-tie").click()
        expect(asked).to_contain_text("All 4 tasks are judged")
        page.get_by_role("link", name="Results (they name the models)").click()
        results = page.locator("#results")
        expect(results).to_contain_text("Krippendorff's alpha")
        expect(results).to_contain_text("Ann <b> (8), Bob (8)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_part_has_a_serious_fault_of_access(browser: Any, site: Site, width: int, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("needs axe-core: npm install --prefix build axe-core")
    chosen = ["problems&id=HumanEval/12", "data", "run", "compare", "start", "chat", "review", "reinforce"]
    with visiting(browser, site, "run", width, color_scheme=scheme) as page:
        faults = []
        for part in chosen:
            page.goto(f"{own(site)}/?tab={part}")
            faults += [(part, *fault) for fault in serious_faults(page)]
    assert not faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_report_has_no_serious_fault_and_shows_where_a_table_is_cut(
    browser: Any, site: Site, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page.goto(write_report(site.run).as_uri())
    page.evaluate("for (const all of document.querySelectorAll('details')) all.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    signs = page.locator(".scroll").evaluate_all(
        "all => all.map(one => getComputedStyle(one).backgroundImage)"
    )
    assert signs and all(sign.count("linear-gradient") == 4 for sign in signs)
    assert not (AXE.exists() and serious_faults(page))
    page.close()


def serious_faults(page: Any) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds grave on a page: the rule, and where it is broken."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        (fault["id"], [node["html"][:200] for node in fault["nodes"][:3]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def test_only_this_machine_s_name_is_served_and_nothing_may_be_fetched(site: Site) -> None:
    with urllib.request.urlopen(site.address) as reply:
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy
        assert "script-src 'self';" in policy and "style-src 'self';" in policy, "nothing inline runs"
    stranger = urllib.request.Request(site.address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(stranger)
    for path in ("docs", "openapi.json", "redoc"):
        assert status_of(f"{own(site)}/{path}") == 404


def own(site: Site) -> str:
    """Return the address that the page lies at, without a slash at its end."""
    with urllib.request.urlopen(site.address) as reply:
        return str(reply.url).rstrip("/")


def status_of(url: str, data: bytes | None = None, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, named)) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_nothing_is_served_without_the_token(site: Site) -> None:
    assert own(site).removeprefix(site.origin) == site.address.partition("token=")[2]
    for path in ("", "?token=", "?token=wrong", "?tab=run", "app.js", "x/live", "/", "%2e/"):
        assert status_of(site.origin + path) == 403
    for path in ("chat", "do/vote", "x/do/start"):
        assert status_of(site.origin + path, b"{}", Content_Type="application/json") == 403
    assert status_of(own(site)[:-1] + "/live") == 403
    server = http.client.HTTPConnection(urllib.parse.urlsplit(site.origin).netloc)
    server.request("OPTIONS", "*")
    assert server.getresponse().status == 403
    server.close()


@pytest.mark.parametrize(
    "origin", ["http://localhost:1", "http://127.0.0.1:1", "https://evil.example", "null", ""]
)
def test_other_pages_are_not_answered_though_they_know_the_token(site: Site, origin: str) -> None:
    assert status_of(own(site) + "/live", Origin=origin) == 403
    assert status_of(own(site) + "/do/start", b"{}", Origin=origin) == 403
    assert status_of(own(site) + "/live", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors") == 403
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert status_of(site.address, **followed) == 200
    assert status_of(own(site) + "/live", Origin=site.origin.rstrip("/")) == 200


def test_a_form_of_another_page_cannot_ask_for_anything(site: Site) -> None:
    for path in ("/do/start", "/do/vote", "/chat"):
        assert status_of(own(site) + path, b"{}", Content_Type="text/plain") == 415
    assert status_of(own(site) + "/do/nothing", b"{}", Content_Type="application/json") == 404
