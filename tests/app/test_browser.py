"""The app in a real browser: chat, data, problems, live view and a whole blind review, clicked through.

Every visit ends with the same checks: no error on the console, no request to another host, the title as it
was, and nothing wider than the window, though the run and the models write hostile text everywhere.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.models.byte_llama import save_tiny_model

from evolcoder.run_progress import PROGRESS_NAME
from evolcoder.runs import read_jsonl, write_json_whole

from .app_run import HOSTILE, make_app_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'evolcoder[dev]'")
pytest.importorskip("gradio", reason="needs gradio: pip install 'evolcoder[app]'")

WIDE, NARROW = 1440, 390
PATIENCE_MS = 90_000
"""How long anything is waited for: only a page that never comes there fails, however busy the machine is."""
LEFT = re.compile(r"^AbortError: signal is aborted|Connection errored out")
"""What Gradio's own client logs when a page is left or loaded again while it listens to the server."""
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


class Site(NamedTuple):
    address: str
    run: Path
    endpoint: Endpoint

    @property
    def origin(self) -> str:
        return self.address.partition("?")[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from evolcoder.app.site import AppOptions, serve

    folder = tmp_path_factory.mktemp("app")
    run = make_app_run(folder / "run", rounds=3, problems=6)
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: quickstart", f"name: {json.dumps(HOSTILE)}"))
    save_tiny_model(run / "round-1" / "checkpoint", seed=1)
    save_tiny_model(run / "round-2" / "checkpoint", seed=2)
    endpoint = Endpoint()
    options = AppOptions(
        run=run, models=["openai:hostile"], base_url=endpoint.url, reviews=folder / "reviews", port=0
    )
    page, address = serve(options, wait=False)
    yield Site(address, run, endpoint)
    page.close()
    endpoint.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs a browser: apt-get install chromium")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        # Names are looked up nowhere, so that a request that got out would be seen here and fail there.
        options = [
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Any, site: Site, part: str, width: int = WIDE, **context: Any) -> Iterator[Any]:
    """Open the app at one of its parts, and check at the end what holds for every visit."""
    visit = browser.new_context(viewport={"width": width, "height": 900}, **context)
    page = visit.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if is_error(said) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    here = (site.origin, "data:")
    page.on("request", lambda asked: None if asked.url.startswith(here) else elsewhere.append(asked.url))
    page.goto(site.address)
    open_part(page, part)
    yield page
    assert page.title() == "evolcoder"
    assert page.locator("#parts img, #parts iframe, .shown a, .shown script, [onerror]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not errors
    assert not elsewhere
    visit.close()


def is_error(said: Any) -> bool:
    return said.type == "error" and not LEFT.search(said.text)


def open_part(page: Any, part: str) -> None:
    tab = page.get_by_role("tab", name=part, exact=True)
    tab.first.wait_for()
    tab.first.click()


def choose(page: Any, box: str, label: str) -> None:
    """Name a model, once the page has filled in the one it proposes."""
    field = page.locator(f"{box} input").first
    sync_api.expect(field).not_to_have_value("")
    field.fill(label)
    field.press("Enter")
    sync_api.expect(field).to_have_value(re.compile(re.escape(label)))


def tell_tasks(page: Any, number: int) -> None:
    """Type how many tasks a review has until the button says so: a page not all there passes it over."""
    field, make = page.locator("#review-tasks input"), page.locator("#review-make")
    tries = itertools.count()
    while f"{number} tasks" not in make.inner_text() and next(tries) < PATIENCE_MS // 1000:
        field.fill("1")
        field.fill(str(number))
        page.wait_for_timeout(1000)
    sync_api.expect(make).to_contain_text(f"{number} tasks")


def send(page: Any, question: str) -> None:
    """Ask until it is taken: a press while the answer before is put away is passed over."""
    page.locator("#chat-question textarea").fill(question)
    # Another model begins a conversation of its own, so the number of turns need not grow.
    asked = page.locator("#chat-left .question").filter(has_text=question)
    tries = itertools.count()
    while not asked.count() and next(tries) < PATIENCE_MS // 100:
        page.locator("#chat-send").click()
        page.wait_for_timeout(100)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_live_view_follows_a_run(browser: Any, site: Site, width: int) -> None:
    expect = sync_api.expect
    (site.run / PROGRESS_NAME).unlink(missing_ok=True)
    with visiting(browser, site, "Run", width) as page:
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
def test_two_models_are_asked_side_by_side(browser: Any, site: Site, width: int) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "Chat", width) as page:
        choose(page, "#chat-model", "round 1")
        choose(page, "#chat-second", "openai:hostile")
        page.locator("#chat-question textarea").fill(f"hello {HOSTILE}")
        site.endpoint.may_end.clear()
        page.locator("#chat-send").click()
        left, right = page.locator("#chat-left"), page.locator("#chat-right")
        expect(right.locator(".turn.writing")).to_contain_text(SCRIPT)
        site.endpoint.may_end.set()
        expect(right.locator(".turn.done")).to_contain_text("![picture](https://evil.example/y.png)")
        expect(left.locator(".turn.done")).to_contain_text("tokens in")
        expect(left.locator(".question")).to_contain_text(SCRIPT)
        page.locator("#chat-question textarea").fill("and again")
        page.locator("#chat-question textarea").press("Shift+Enter")
        expect(right.locator(".turn.done")).to_have_count(2)
        expect(left.locator(".turn.done")).to_have_count(2)
    first, second = site.endpoint.bodies[-2:]
    assert (first["temperature"], first["max_tokens"], first["stream"]) == (0, 1024, True)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]


def test_an_answer_can_be_stopped_and_another_model_named(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "Chat") as page:
        choose(page, "#chat-model", "openai:hostile")
        page.locator("#chat-question textarea").fill("go on forever")
        page.locator("#chat-send").click()
        left = page.locator("#chat-left")
        expect(left.locator(".turn.writing .answer")).to_contain_text("word word")
        page.locator("#chat-stop").click()
        expect(left.locator(".turn.stopped .answer")).to_contain_text("word word")
        assert site.endpoint.broken_off.wait(PATIENCE_MS / 1000), "the endpoint must not be kept writing"
        choose(page, "#chat-model", "no-such-model")
        send(page, "hello?")
        expect(left.locator(".turn.failed")).to_contain_text("names no model")
        page.locator("#chat-clear").click()
        expect(left.locator(".turn")).to_have_count(0)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_data_is_browsed_by_filter_page_and_tree(browser: Any, site: Site, width: int) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "Data", width) as page:
        rows, detail = page.locator("#data-rows"), page.locator("#data-detail")
        expect(rows).to_contain_text("1–20 of ")
        page.locator("#data-on").click()
        expect(rows).to_contain_text("21–40 of ")
        page.locator("#data-back").click()
        expect(rows).to_contain_text("1–20 of ")
        page.get_by_label("Search").first.fill("document.TITLE = 'owned'")
        page.get_by_label("Search").first.press("Enter")
        expect(rows).not_to_contain_text("1–20 of ")
        rows.locator(".pick", has_text="round 1").first.click()
        expect(detail).to_contain_text(SCRIPT)
        if width == NARROW:  # the row below the list comes into sight by itself
            page.wait_for_function("window.scrollY > 100")
        expect(rows.locator(".pick[aria-current]")).to_contain_text("round 1")
        expect(detail.locator("ul.tree [aria-current]")).to_have_count(1)
        expect(detail.locator("ul.tree ins").first).to_be_visible()
        detail.locator("ul.tree .pick").first.click()
        expect(detail.locator("ul.tree .pick").first).to_have_attribute("aria-current", "true")


def test_data_is_filtered_by_reason(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "Data") as page:
        expect(page.locator("#data-rows")).to_contain_text("1–20 of ")
        box = page.get_by_label("Eliminated because")
        box.click()
        page.get_by_role("option", name=re.compile("^unchanged \\(")).click()
        expect(page.locator("#data-rows .tag.bad").first).to_have_text("unchanged")
        expect(page.locator("#data-rows .tag", has_text="seed")).to_have_count(0)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_problems_show_samples_verdicts_and_the_diff(browser: Any, site: Site, width: int) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "Problems", width) as page:
        lines, detail = page.locator("#problem-rows"), page.locator("#problem-detail")
        expect(lines).to_contain_text("1–6 of 6 problems")
        lines.locator(".pick").first.click()
        expect(lines.locator(".pick").first).to_have_attribute("aria-current", "true")
        lines.locator(".pick").last.click()
        expect(lines.locator(".pick[aria-current]")).to_have_count(1)
        expect(detail).to_contain_text("From base to round 3")
        expect(detail.locator("pre.diff .came").first).to_be_visible()
        expect(detail).to_contain_text(SCRIPT)
        page.get_by_label("Change").click()
        page.get_by_role("option", name="gained", exact=True).click()
        expect(lines).not_to_contain_text("of 6 problems")


def test_a_whole_blind_review_by_keyboard(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "Review") as page:
        page.get_by_text("Set up a new review").click()
        expect(page.locator("#review-models label")).to_have_count(4)
        tell_tasks(page, 4)
        page.locator("#review-make").click()
        expect(page.locator("#review-said")).to_contain_text("Ready: 4 pairs")
        page.locator("#review-name input, #review-name textarea").first.fill("Ann <b>")
        page.locator("#review-go").click()
        asked = page.locator("#review-question")
        expect(asked).to_contain_text("task 1 of 4")
        expect(page.locator("#review-task")).to_contain_text(SCRIPT)
        told = page.locator("#review-desk").inner_text().replace("(round-0)", "").replace("(round-3)", "")
        assert "base" not in told and "round 3" not in told
        for key, expected in [("1", "readability"), ("3", "correctness"), ("2", "readability")]:
            page.keyboard.press(key)
            expect(asked.locator(f"h2[data-criterion={expected}]")).to_be_visible()
        expect(asked).to_contain_text("task 2 of 4")
        page.reload()
        open_part(page, "Review")
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
        page.get_by_text("Results (they name the models)").click()
        page.locator("#review-reveal").click()
        expect(page.locator("#results")).to_contain_text("Votes by Ann <b> (8)")
    (votes,) = site.run.parent.glob("reviews/*/votes.jsonl")
    rows = [row for _, row in read_jsonl(votes)]
    assert len(rows) == 9, "eight votes, one of them cast twice"
    assert {row["reviewer"] for row in rows} == {"Ann <b>"}


def test_a_second_reviewer_on_a_phone_and_how_far_they_agree(browser: Any, site: Site) -> None:
    expect = sync_api.expect
    with visiting(browser, site, "Review", NARROW, has_touch=True) as page:
        page.locator("#review-name input, #review-name textarea").first.fill("Bob")
        page.locator("#review-go").click()
        asked = page.locator("#review-question")
        for number in range(1, 5):
            expect(asked).to_contain_text(f"task {number} of 4")
            page.locator("#vote-a").click()
            expect(asked.locator("h2[data-criterion=readability]")).to_be_visible()
            page.locator("#vote-tie").click()
        expect(asked).to_contain_text("All 4 tasks are judged")
        page.get_by_text("Results (they name the models)").click()
        page.locator("#review-reveal").click()
        results = page.locator("#results")
        expect(results).to_contain_text("Krippendorff's alpha")
        expect(results).to_contain_text("Ann <b> (8), Bob (8)")


def test_only_this_machine_s_name_is_served_and_nothing_may_be_fetched(site: Site) -> None:
    with urllib.request.urlopen(site.address) as reply:
        policy = reply.headers["content-security-policy"]
        assert "connect-src 'self'" in policy and "img-src 'self' data: blob:" in policy
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
    for path in (
        "",
        "?token=",
        "?token=wrong",
        "config",
        "gradio_api/info",
        "theme.css",
        "x/config",
        "/",
        "%2e/",
    ):
        assert status_of(site.origin + path) == 403
    for path in ("gradio_api/queue/join", "gradio_api/upload", "gradio_api/run/predict"):
        assert status_of(site.origin + path, b"{}", Content_Type="application/json") == 403
    assert status_of(own(site)[:-1] + "/config") == 403


@pytest.mark.parametrize(
    "origin", ["http://localhost:1", "http://127.0.0.1:1", "https://evil.example", "null", ""]
)
def test_other_pages_are_not_answered_though_they_know_the_token(site: Site, origin: str) -> None:
    assert status_of(own(site) + "/config", Origin=origin) == 403
    assert status_of(own(site) + "/gradio_api/queue/join", b"{}", Origin=origin) == 403
    assert status_of(own(site) + "/config", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors") == 403
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert status_of(site.address, **followed) == 200
    assert status_of(own(site) + "/config", Origin=site.origin.rstrip("/")) == 200
