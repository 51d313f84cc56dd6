"""Text of models, data and file names as HTML that shows it and never runs it.

Everything that the app shows goes through `Markup.format` or `escape` here: a tag is shown as its letters,
and no address in a text becomes a link, a picture or any other request. Characters that nobody sees, or that
make a line read in another order than it is (Boucher and Anderson 2021), are shown by their code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from evolcoder.report.lineage import Piece, answer_parts, new_words

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
    cut = whole[:most]
    rest = len(whole) - len(cut)
    html = Markup("").join(
        Markup('<span class="hidden-char">U+{:04X}</span>').format(ord(part))
        if _HIDDEN.fullmatch(part)
        else escape(part)
        for part in _HIDDEN.split(cut)
    )
    return (
        html + Markup('<span class="soft"> … {} more characters</span>').format(f"{rest:,}") if rest else html
    )


def one_line(text: object, most: int = 160) -> Markup:
    """Return the beginning of a text in one line."""
    flat = " ".join(str(text)[: 4 * most].split())
    return shown(flat if len(flat) <= most else flat[: most - 1].rstrip() + "…")


def code(text: object) -> Markup:
    """Return a text as a block of code."""
    return Markup("<pre>{}</pre>").format(shown(text))


def answer(text: str) -> Markup:
    """Return an answer as prose and blocks of code; nothing else of Markdown is interpreted."""
    parts = answer_parts(text[:MOST_CHARACTERS].replace("\r", ""))
    html = Markup("").join(
        code(part.text) if part.kind == "code" else Markup("<p>{}</p>").format(shown(part.text))
        for part in parts
    )
    if len(text) > MOST_CHARACTERS:
        html += Markup('<p class="soft">… {} more characters</p>').format(f"{len(text) - MOST_CHARACTERS:,}")
    return Markup('<div class="answer">{}</div>').format(html)


def evolved_text(parent: str, child: str) -> Markup:
    """Return an evolved instruction with the words that are new against its parent marked."""
    if not parent or len(parent.split()) + len(child.split()) > _MOST_WORDS_COMPARED:
        return shown(child)
    return Markup("").join(map(_piece, new_words(parent, child)))


def _piece(piece: Piece) -> Markup:
    return Markup("<ins>{}</ins>").format(shown(piece.text)) if piece.new else shown(piece.text)


def line_diff(before: str, after: str) -> Markup:
    """Return two programs as one, line by line: what went, what came, what stayed."""
    old, new = before.splitlines()[:_MOST_LINES_COMPARED], after.splitlines()[:_MOST_LINES_COMPARED]
    if old == new:
        return Markup('<p class="soft">the same program</p>') + code(after)
    rows: list[Markup] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += _lines(" ", "same", old[i1:i2])
        else:
            rows += _lines("−", "went", old[i1:i2]) + _lines("+", "came", new[j1:j2])
    return Markup('<pre class="diff">{}</pre>').format(Markup("").join(rows))


def _lines(sign: str, css: str, lines: Sequence[str]) -> list[Markup]:
    return [Markup('<span class="{}">{} {}\n</span>').format(css, sign, shown(line)) for line in lines]


def tag(text: object, kind: str = "") -> Markup:
    """Return a short label; `kind` is one of the style sheet's classes."""
    return Markup('<span class="tag {}">{}</span>').format(kind, one_line(text, 60))


def notice(text: object) -> Markup:
    """Return a sentence that stands out."""
    return Markup('<p class="notice">{}</p>').format(shown(text))


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; cells that are Markup already stay as they are."""

    def cells(name: str, values: Sequence[object]) -> Markup:
        row = (Markup("<{0}>{1}</{0}>").format(Markup(name), _cell(value)) for value in values)
        return Markup("<tr>{}</tr>").format(Markup("").join(row))

    body = Markup("").join(cells("td", row) for row in rows)
    return Markup('<div class="scroll"><table><thead>{}</thead><tbody>{}</tbody></table></div>').format(
        cells("th", head), body
    )


def _cell(value: object) -> Markup:
    return value if isinstance(value, Markup) else shown(value, 500)
