"""What every part of the app is built with: addresses that keep their filters, choices, pages of a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from evolcoder.app.access import is_loopback
from evolcoder.app.shown_text import empty, shown
from evolcoder.report.templating import template


@dataclass(frozen=True, slots=True)
class AppOptions:
    """What the app shows and where."""

    run: Path | None = None
    runs: Path = Path("runs")
    """Folder of the other runs, and of those that are started from the page."""
    models: Sequence[str] = ()
    """MODEL strings to chat with beside the run's checkpoints."""
    base_url: str = ""
    """Address of the endpoint that openai: models are asked at first."""
    answers: Mapping[str, Path] = field(default_factory=dict)
    """Files of answers for a blind review, by the model's name."""
    reviews: Path = Path("reviews")
    """Folder of studies and votes."""
    host: str = "127.0.0.1"
    port: int = 7860
    models_kept: int = 2
    """Most models in memory at once."""

    @property
    def local_only(self) -> bool:
        """Whether only this machine can reach it: else visitors start nothing."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a visitor is: the query of the page's address."""

    query: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """Return a value, "" where there is none."""
        return self.query.get(name, "")

    def number(self, name: str) -> int | None:
        """Return a value as a number from 0; None where it is none."""
        value = self[name]
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None

    def href(self, **changes: object) -> str:
        """Return the address of this place with some values changed; None and "" take one out."""
        return _address({**self.query, **changes})

    def part(self, tab: str, **values: object) -> str:
        """Return the address of a part of the app for the same run."""
        return _address({"tab": tab, "run": self["run"], **values})


def _address(values: Mapping[str, object]) -> str:
    return "?" + urlencode({name: str(value) for name, value in values.items() if value not in (None, "")})


def render(name: str, /, **values: Any) -> Markup:
    """Return a template of the app, filled; everything that is not `Markup` is escaped."""
    return Markup(template(name, "evolcoder.app").render(shown=shown, pairs=_pairs, **values))


def _pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    """Return options of a choice that are shown as what they are."""
    return [(value, value) for value in values]


def pick_link(href: str, inside: Markup, css: str = "", *, chosen: bool = False) -> Markup:
    """Return a line of a list that leads to `href`; the chosen one says so."""
    return Markup('<a class="pick {}" href="{}"{}>{}</a>').format(
        css, href, Markup(' aria-current="true"') if chosen else "", inside
    )


def pages(place: Place, first: int, shown_now: int, total: int, size: int, what: str) -> Markup:
    """Return "1–20 of 1,234 rows" with the ways to the pages before and after."""
    if not total:
        return empty(f"No {what} match.")
    return render(
        "pages.html.j2",
        text=f"{first + 1:,}–{first + shown_now:,} of {total:,} {what}",
        back=place.href(page=first // size - 1, id=None, row=None) if first else "",
        on=place.href(page=first // size + 1, id=None, row=None) if first + shown_now < total else "",
    )
