"""Take the pictures of the app that the docs show, from a real run, in headless Chromium.

python bench/app_pictures.py RUN OUT [PART]...
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from evolcoder.app.site import serve
from evolcoder.app.widgets import AppOptions

_QUESTION = "Write a Python function that returns the second largest number in a list."
_WIDTHS = {"": 1440, "-phone": 390}


def main() -> None:
    """Serve the run and photograph every part of the app at both widths."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    parts = sys.argv[3:] or list(_PARTS)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as reviews, sync_playwright() as playwright:
        served = serve(AppOptions(run=run, reviews=Path(reviews), port=0))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        for name, width in _WIDTHS.items():
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.set_default_timeout(400_000)
            tab.goto(served.address)
            for part in parts:
                tab.get_by_role("link", name=part, exact=True).click()
                try:
                    _PARTS[part](tab)
                except Exception as error:  # the other pictures are still wanted
                    print(f"{part} at {width}: {' '.join(str(error).split())[:500]}")
                tab.mouse.move(2, 2)  # what lies under the mouse looks pressed
                tab.wait_for_timeout(600)
                tab.screenshot(path=out / f"app-{part.lower()}{name}.png")
            tab.close()
        browser.close()
        served.close()
    _side_by_side([out / f"app-{part.lower()}-phone.png" for part in parts], out / "app-phone.png")


def _side_by_side(pictures: Sequence[Path], target: Path) -> None:
    """Put the pictures of a phone into one, and make every picture of the folder small."""
    opened = [Image.open(path).convert("RGB") for path in pictures]
    wide = Image.new("RGB", (sum(picture.width + 24 for picture in opened) - 24, opened[0].height), "#d8d8d8")
    for number, picture in enumerate(opened):
        wide.paste(picture, (sum(before.width + 24 for before in opened[:number]), 0))
    wide.save(target)
    for path in target.parent.glob("app-*.png"):
        Image.open(path).convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        ).save(path, optimize=True)


def _run(tab: Any) -> None:
    tab.wait_for_selector("#live h2")


def _chat(tab: Any) -> None:
    labels = tab.locator("#chat-models option").evaluate_all("all => all.map(one => one.value)")
    for name, label in (("model", labels[0]), ("second", labels[1])):
        tab.locator(f"#chat-{name}").fill(label)
    tab.locator("#chat-question").fill(_QUESTION)
    tab.locator("#chat-send").click()
    for side in ("#chat-left", "#chat-right"):
        tab.wait_for_selector(f"{side} .turn.done")


def _start(tab: Any) -> None:
    tab.get_by_role("button", name="Show the plan").click()
    tab.wait_for_selector("#start-result table")
    tab.evaluate("scrollTo(0, 0)")


def _compare(tab: Any) -> None:
    tab.locator("#compare-found .pick").first.click()
    tab.wait_for_selector("#compare-detail pre.diff")


def _data(tab: Any) -> None:
    tab.get_by_role("combobox", name="Round").select_option("2")
    tab.wait_for_selector("#data-rows .tag:text('round 2')")
    tab.locator("#data-rows .pick").first.click()
    tab.wait_for_selector("#data-detail ul.tree")


def _problems(tab: Any) -> None:
    tab.locator("#problem-rows .pick[aria-current]").click()
    tab.wait_for_selector("#problem-detail pre.diff")


def _review(tab: Any) -> None:
    tab.wait_for_selector("#review-new")
    if not tab.locator("#review-study").count():
        tab.get_by_role("button", name="Set it up").first.click()
    tab.locator("#review-name").fill("Ann")
    tab.locator("#review-go").click()
    tab.wait_for_selector("#review-task .answers")


_PARTS = {
    "Start": _start,
    "Run": _run,
    "Data": _data,
    "Problems": _problems,
    "Compare": _compare,
    "Chat": _chat,
    "Review": _review,
}


if __name__ == "__main__":
    main()
