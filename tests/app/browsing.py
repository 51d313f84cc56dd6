"""A visit to the app in a browser, with what holds of every visit checked at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

WIDE, NARROW = 1440, 390
PATIENCE_MS = 90_000
"""How long anything is waited for: only a page that never comes there fails, however busy the machine is."""


class Site(NamedTuple):
    """The app as it is served for a test."""

    address: str
    run: Path

    @property
    def origin(self) -> str:
        return self.address.partition("?")[0]


@contextmanager
def visiting(browser: Any, site: Site, part: str, width: int = WIDE, **context: Any) -> Iterator[Any]:
    """Open the app at one of its parts, and check at the end what holds for every visit."""
    visit = browser.new_context(viewport={"width": width, "height": 900}, **context)
    page = visit.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    here = (site.origin, "data:")
    page.on("request", lambda asked: None if asked.url.startswith(here) else elsewhere.append(asked.url))
    page.goto(f"{site.address}&tab={part}")
    yield page
    assert page.title() == "evolcoder"
    assert (
        page.locator("img, iframe, main script, [onerror], [onload], a:not([href^='?']):not(.skip)").count()
        == 0
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not errors
    assert not elsewhere
    visit.close()
