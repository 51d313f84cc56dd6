"""What every part of the app is built with: text as HTML, addresses that keep their filters, pages of a list.

Everything that the app shows of models, data and file names goes through `Markup.format` or `escape` here: a
tag is shown as its letters, and no address in a text becomes a link, a picture or any other request. What
nobody sees, or makes a line read in another order (Boucher and Anderson 2021), is shown by its code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from evolcoder.app.access import is_loopback
from evolcoder.report.lineage import answer_parts, new_words
from evolcoder.report.templating import template

MOST_CHARACTERS = 20_000
"""Of one text that is shown; a browser stays quick with a page of them."""
_MOST_WORDS_COMPARED = 3000
_MOST_LINES_COMPARED = 1500
_HIDDEN = re.compile(
    "([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff])"
)


def shown(text: object, most: int = MOST_CHARACTERS) -> Markup:
    """Return a text as HTML that reads as it is, cut after `most` characters."""
    whole = str(text)
    html = Markup("").join(
        Markup('<span class="hidden-char">U+{:04X}</span>').format(ord(part))
        if _HIDDEN.fullmatch(part)
        else escape(part)
        for part in _HIDDEN.split(whole[:most])
    )
    return html + _more(len(whole) - most)


def _more(characters: int) -> Markup:
    """Say how many characters are not shown; nothing where all are."""
    told = Markup('<span class="soft"> … {:,} more characters</span>').format(characters)
    return told if characters > 0 else Markup("")


def one_line(text: object, most: int = 160) -> Markup:
    """Return the beginning of a text in one line."""
    flat = " ".join(str(text)[: 4 * most].split())
    return shown(flat if len(flat) <= most else flat[: most - 1].rstrip() + "…")


LANGUAGES = {
    **dict.fromkeys(("", "python", "python3", "py"), "python"),
    **dict.fromkeys(("javascript", "js"), "javascript"),
    **dict.fromkeys(("typescript", "ts"), "typescript"),
    **dict.fromkeys(("cpp", "c++", "c"), "cpp"),
    **dict.fromkeys(("bash", "sh", "shell"), "bash"),
    **{name: name for name in ("java", "go", "rust", "php", "ruby", "sql", "json")},
}
"""What a block of code is marked with -> the language that it is highlighted as; others stay plain."""
_CSS: tuple[tuple[Any, str], ...] = (
    (Comment, "hl-comment"),
    (String, "hl-string"),
    (Number, "hl-number"),
    (Operator.Word, "hl-keyword"),
    (Keyword, "hl-keyword"),
    (Name.Function, "hl-name"),
    (Name.Class, "hl-name"),
    (Name.Decorator, "hl-name"),
    (Name.Builtin, "hl-builtin"),
)


def code(text: object, language: str = "plain") -> Markup:
    """Return a text as a block of code that the keyboard reaches, highlighted in one of `LANGUAGES`."""
    whole = str(text)
    lines = Markup("\n").join(code_lines(whole[:MOST_CHARACTERS], language))
    more = _more(len(whole) - MOST_CHARACTERS)
    return Markup('<pre tabindex="0"><code>{}{}</code></pre>').format(lines, more)


def text_html(text: str, language: str | None) -> Markup:
    """Return a text as a block of code in its language; as an answer where it is words (None)."""
    return answer(text) if language is None else code(text, language)


def code_lines(text: str, language: str) -> list[Markup]:
    """Return the lines of a program as HTML, its tokens marked by their kind."""
    if language not in LANGUAGES:
        return [shown(line) for line in text.split("\n")]
    lines = [Markup("")]
    for kind, value in _lexer(LANGUAGES[language]).get_tokens(text):
        css = next((css for known, css in _CSS if kind in known), "")
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append(Markup(""))
            if part:
                marked = Markup('<span class="{}">{}</span>').format(css, shown(part)) if css else shown(part)
                lines[-1] += marked
    return lines


@cache
def _lexer(name: str) -> Any:
    return get_lexer_by_name(name, stripnl=False, ensurenl=False)


def answer(text: str) -> Markup:
    """Return an answer as prose and blocks of code; nothing else of Markdown is interpreted."""
    parts = answer_parts(text[:MOST_CHARACTERS].replace("\r", ""))
    html = Markup("").join(
        code(part.text, part.language.lower())
        if part.kind == "code"
        else Markup("<p>{}</p>").format(shown(part.text))
        for part in parts
    )
    if len(text) > MOST_CHARACTERS:
        html += Markup('<p class="soft">… {} more characters</p>').format(f"{len(text) - MOST_CHARACTERS:,}")
    return Markup('<div class="answer">{}</div>').format(html)


def evolved_text(parent: str, child: str) -> Markup:
    """Return an evolved instruction with the words that are new against its parent marked."""
    if not parent or len(parent.split()) + len(child.split()) > _MOST_WORDS_COMPARED:
        return shown(child)
    pieces = [
        (Markup("<ins>{}</ins>" if piece.new else "{}"), piece.text) for piece in new_words(parent, child)
    ]
    return Markup("").join(form.format(shown(text)) for form, text in pieces)


def line_diff(before: str, after: str, language: str | None = "python") -> Markup:
    """Return two texts as one, line by line: what went, what came, what stayed."""
    before, after = _compared(before), _compared(after)
    old, new = before.split("\n")[:_MOST_LINES_COMPARED], after.split("\n")[:_MOST_LINES_COMPARED]
    if old == new:
        return Markup('<p class="soft">the same text</p>') + text_html(after, language)
    was, is_now = (code_lines(text, language or "plain") for text in (before, after))
    rows: list[Markup] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += _lines(" ", "same", was[i1:i2])
        else:
            rows += _lines("−", "went", was[i1:i2]) + _lines("+", "came", is_now[j1:j2])
    return Markup('<pre class="diff" tabindex="0"><code>{}</code></pre>').format(Markup("").join(rows))


def _compared(text: str) -> str:
    return text[:MOST_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def _lines(sign: str, css: str, lines: Sequence[Markup]) -> list[Markup]:
    return [Markup('<span class="{}">{} {}\n</span>').format(css, sign, line) for line in lines]


def tag(text: object, kind: str = "") -> Markup:
    """Return a short label; `kind` is one of the style sheet's classes."""
    return Markup('<span class="tag {}">{}</span>').format(kind, one_line(text, 60))


def notice(text: object, kind: str = "") -> Markup:
    """Return a sentence that stands out; `kind` "bad" for what went wrong."""
    return Markup('<p class="notice {}">{}</p>').format(kind, shown(text, 1000))


def empty(text: object) -> Markup:
    """Return a sentence in the place of what is not there."""
    return Markup('<p class="empty">{}</p>').format(shown(text, 300))


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; cells that are Markup already stay as they are."""

    def cells(name: str, values: Sequence[object]) -> Markup:
        inside = (value if isinstance(value, Markup) else shown(value, 500) for value in values)
        row = Markup("").join(Markup(f"<{name}>{{}}</{name}>").format(cell) for cell in inside)
        return Markup("<tr>{}</tr>").format(row)

    body = Markup("").join(cells("td", row) for row in rows)
    return Markup(
        '<div class="scroll" tabindex="0"><table><thead>{}</thead><tbody>{}</tbody></table></div>'
    ).format(cells("th", head), body)


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
