"""How long a person waits for the app's pages of a big run, in headless Chromium, and the app's memory.

python bench/report.py --rows 100000 --keep RUN && python bench/app_pages.py RUN
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import psutil
from playwright.sync_api import expect, sync_playwright


def main() -> None:
    """Serve the run, go through its pages and print the seconds until each shows."""
    with tempfile.TemporaryDirectory() as empty, sync_playwright() as playwright:
        command = [sys.executable, "-m", "evolcoder", "app", sys.argv[1], "--port", "0"]
        command += ["--reviews", f"{empty}/reviews", "--runs", f"{empty}/runs"]
        app = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert app.stdout is not None
        address = app.stdout.readline().split()[0]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        expect.set_options(timeout=120_000)
        for width in (1440, 390):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.set_default_timeout(120_000)
            errors = _errors_of(tab)
            print(f"{width} px wide")
            for name, step in _steps(tab, address).items():
                begun = time.perf_counter()
                step()
                print(f"  {name:<34} {time.perf_counter() - begun:5.2f} s")
                if step.__name__ == "opened":
                    print(f"  {'  its largest part painted after':<34} {_painted(tab):5.2f} s")
            wide = tab.evaluate("document.documentElement.scrollWidth")
            print(f"  errors of the page: {len(errors)}; as wide as {wide} px")
            tab.close()
        browser.close()
        memory = psutil.Process(app.pid).memory_info().rss / 2**20
        print(f"memory of the app: {memory:.0f} MiB")
        app.terminate()
        app.wait()


def _errors_of(tab: Any) -> list[str]:
    """Return the list that every error of the page will be put into."""
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def _painted(tab: Any) -> float:
    """Return the seconds from asking for the page to its largest contentful paint."""
    script = """() => new Promise(done => new PerformanceObserver(list =>
        done(list.getEntries().at(-1).startTime / 1000)
    ).observe({type: 'largest-contentful-paint', buffered: true}))"""
    return float(tab.evaluate(script))


def _steps(tab: Any, address: str) -> dict[str, Callable[[], None]]:
    rows, detail = tab.locator("#data-rows"), tab.locator("#data-detail")

    def part(name: str) -> None:
        tab.get_by_role("link", name=name, exact=True).click()

    def opened() -> None:
        tab.goto(address)
        expect(tab.locator("#live")).to_contain_text("finished")

    def data() -> None:
        part("Data")
        expect(rows).to_contain_text("1–20 of ")

    def next_page() -> None:
        rows.get_by_role("link", name="On →").click()
        expect(rows).to_contain_text("21–40 of ")

    def filtered() -> None:
        before = rows.locator(".pages").inner_text()
        tab.get_by_role("combobox", name="Round").select_option("3")
        expect(rows.locator(".pages")).not_to_have_text(before)
        expect(rows).to_contain_text("1–20 of ")

    def searched() -> None:
        box = tab.get_by_role("searchbox")
        box.fill("r3-000077")
        box.press("Enter")
        expect(rows).to_contain_text("1–1 of 1 ")

    def read() -> None:
        rows.locator(".pick").first.click()
        expect(detail.locator("ul.tree [aria-current]")).to_have_count(1)

    def problems() -> None:
        part("Problems")
        expect(tab.locator("#problem-rows, #problem-detail").first).to_contain_text("problems")

    return {
        "the app, its live view": opened,
        "Data: the first page": data,
        "Data: the next page": next_page,
        "Data: one round": filtered,
        "Data: an id among all texts": searched,
        "Data: a row with its tree": read,
        "Problems": problems,
    }


if __name__ == "__main__":
    main()
