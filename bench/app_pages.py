"""How long a person waits for the app's pages of a big run, in headless Chromium, at both widths.

python bench/report.py --rows 100000 --keep RUN && python bench/app_pages.py RUN
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect, sync_playwright

from evolcoder.app.site import AppOptions, serve


def main() -> None:
    """Serve the run, go through its pages and print the seconds until each shows."""
    with tempfile.TemporaryDirectory() as reviews, sync_playwright() as playwright:
        page, address = serve(AppOptions(run=Path(sys.argv[1]), reviews=Path(reviews), port=0), wait=False)
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
            wide = tab.evaluate("document.documentElement.scrollWidth")
            print(f"  errors of the page: {len(errors)}; as wide as {wide} px")
            tab.close()
        browser.close()
        page.close()


def _errors_of(tab: Any) -> list[str]:
    """Return the list that every error of the page will be put into."""
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def _steps(tab: Any, address: str) -> dict[str, Callable[[], None]]:
    rows, detail = tab.locator("#data-rows"), tab.locator("#data-detail")

    def part(name: str) -> None:
        tab.get_by_role("tab", name=name, exact=True).first.click()

    def opened() -> None:
        tab.goto(address)
        expect(tab.locator("#live")).to_contain_text("finished")

    def data() -> None:
        part("Data")
        expect(rows).to_contain_text("1–20 of ")

    def next_page() -> None:
        tab.locator("#data-on").click()
        expect(rows).to_contain_text("21–40 of ")

    def filtered() -> None:
        before = rows.locator("p").first.inner_text()
        tab.get_by_label("Round", exact=True).click()
        tab.get_by_role("option", name="round 3", exact=True).click()
        expect(rows.locator("p").first).not_to_have_text(before)
        expect(rows).to_contain_text("1–20 of ")

    def searched() -> None:
        box = tab.get_by_label("Search").first
        box.fill("r3-000077")
        box.press("Enter")
        expect(rows).to_contain_text("1–1 of 1 ")

    def read() -> None:
        rows.locator(".pick").first.click()
        expect(detail.locator("ul.tree [aria-current]")).to_have_count(1)

    def problems() -> None:
        part("Problems")
        expect(tab.locator("#problem-rows")).to_contain_text("problems")

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
