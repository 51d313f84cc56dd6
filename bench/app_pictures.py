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

from evolcoder.app.site import AppOptions, serve

_QUESTION = "Write a Python function that returns the second largest number in a list."
_WIDTHS = {"": 1440, "-phone": 390}


def main() -> None:
    """Serve the run and photograph every part of the app at both widths."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    parts = sys.argv[3:] or list(_PARTS)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as reviews, sync_playwright() as playwright:
        page, address = serve(AppOptions(run=run, reviews=Path(reviews), port=0), wait=False)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        for name, width in _WIDTHS.items():
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.set_default_timeout(400_000)
            tab.goto(address)
            for part in parts:
                tab.get_by_role("tab", name=part, exact=True).first.click()
                try:
                    _PARTS[part](tab)
                except Exception as error:  # the other pictures are still wanted
                    print(f"{part} at {width}: {' '.join(str(error).split())[:500]}")
                tab.mouse.move(2, 2)  # what lies under the mouse looks pressed
                tab.wait_for_timeout(600)
                tab.screenshot(path=out / f"app-{part.lower()}{name}.png")
            tab.close()
        browser.close()
        page.close()
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
    tab.wait_for_selector(".live h2")


def _chat(tab: Any) -> None:
    tab.wait_for_function("document.querySelector('#chat-model input')?.value !== ''")
    for box, label in (("#chat-model", "base (embedded)"), ("#chat-second", "round 1 (best)")):
        field = tab.locator(f"{box} input").first
        field.fill(label)
        field.press("Enter")
    tab.locator("#chat-question textarea").fill(_QUESTION)
    tab.locator("#chat-send").click()
    for side in ("#chat-left", "#chat-right"):
        tab.wait_for_selector(f"{side} .turn.done")


def _data(tab: Any) -> None:
    tab.wait_for_selector("#data-rows .pick")
    tab.get_by_label("Round", exact=True).click()
    tab.get_by_role("option", name="round 2", exact=True).click()
    tab.wait_for_selector("#data-rows .tag:text('round 2')")
    tab.locator("#data-rows .pick").first.click()
    tab.wait_for_selector("#data-detail ul.tree")


def _problems(tab: Any) -> None:
    tab.wait_for_selector("#problem-rows .pick")
    tab.locator("#problem-rows .pick", has_text="HumanEval/30").first.click()
    tab.wait_for_selector("#problem-detail pre.diff")


def _review(tab: Any) -> None:
    if not tab.locator("#review-study input").first.input_value():
        tab.get_by_text("Set up a new review").click()
        tab.wait_for_selector("#review-models label")
        tab.locator("#review-make").click()
        tab.wait_for_selector("#review-said .notice")
    tab.locator("#review-name textarea, #review-name input").first.fill("Ann")
    tab.locator("#review-go").click()
    tab.wait_for_selector("#review-task .answers")


_PARTS = {"Run": _run, "Chat": _chat, "Data": _data, "Problems": _problems, "Review": _review}


if __name__ == "__main__":
    main()
