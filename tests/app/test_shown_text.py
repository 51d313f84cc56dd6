"""Text of a model is shown as it is: no tag, no handler, no address of it becomes part of the page."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from evolcoder.app.chat_page import ChatSide, Turn, pane_html
from evolcoder.app.open_models import ModelName
from evolcoder.app.widgets import (
    LANGUAGES,
    answer,
    code,
    evolved_text,
    line_diff,
    notice,
    one_line,
    pick_link,
    shown,
    table,
    tag,
)

from .app_run import HOSTILE

PIECES = st.lists(
    st.sampled_from(
        ["<script>", "</pre>", "<img src=x onerror=y>", "```", "`", "\n", '"', "'", "&lt;", "{}", "{0}"]
    )
    | st.text(max_size=5),
    max_size=12,
).map("".join)
OURS = {"p", "pre", "code", "span", "ins", "div", "table", "thead", "tbody", "tr", "td", "th", "a", "h2"}


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(str(html))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def check(html: str) -> Page:
    page = Page(html)
    assert page.tags <= OURS
    assert page.attributes <= {"class", "href", "tabindex", "aria-current"}
    return page


@given(PIECES, PIECES)
def test_no_text_becomes_part_of_the_page(one: str, other: str) -> None:
    for html in (
        shown(one), one_line(one), code(one), code(one, "python"), answer(one),
        evolved_text(one, other), line_diff(one, other),
        tag(one), notice(one), table((one, other), [(other, one)]), pick_link(one, shown(other)),
        pane_html(ChatSide(ModelName(one), "chat", (Turn(one, other, "failed", one),)), other),
    ):  # fmt: skip
        check(html)


@given(st.text(st.characters(exclude_categories=["C"]), max_size=200))
def test_a_text_reads_as_it_is(text: str) -> None:
    hidden = [c for c in text if 0x200B <= ord(c) <= 0x206F]
    if not hidden:
        assert check(shown(text)).text == text


def test_the_hostile_text_stays_text() -> None:
    page = check(answer(HOSTILE))
    assert "<script>document.title = 'owned'</script>" in page.text
    assert "![picture](https://evil.example/y.png)" in page.text
    assert "U+202E" in page.text and "\u202e" not in page.text


def test_an_answer_s_code_and_prose_are_told_apart() -> None:
    page = check(answer("first\n```python\nx = '<b>'\n```\nlast\r\n"))
    assert {"pre", "p"} <= page.tags and "x = '<b>'" in page.text and "```" not in page.text


def test_long_texts_are_cut_and_say_so() -> None:
    assert "… 5 more characters" in check(shown("x" * 105, 100)).text
    assert "… 30,000 more characters" in check(answer("y" * 50_000)).text
    assert len(line_diff("a\n" * 90_000, "b\n" * 90_000)) < 300_000
    assert len(evolved_text("w " * 50_000, "v " * 50_000)) < 50_000


def test_a_diff_tells_what_went_and_what_came() -> None:
    lines = check(line_diff("a\nb\nc", "a\nx\nc")).text.splitlines()
    assert [line[0] for line in lines] == [" ", "−", "+", " "]
    assert "the same text" in line_diff("a", "a")


def test_new_words_are_marked() -> None:
    assert "<ins>" in evolved_text("sort a list", "sort a list without using any built-in function")


@given(
    st.text(st.characters(exclude_categories=["C"], exclude_characters="\r"), max_size=60),
    st.sampled_from(sorted(LANGUAGES)),
)
def test_highlighting_changes_no_character(text: str, language: str) -> None:
    hidden = [c for c in text if 0x200B <= ord(c) <= 0x206F]
    if not hidden:
        assert check(code(text, language)).text == text
