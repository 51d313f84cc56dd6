"""The data of a run: every row by filter, page by page, each with its lineage tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from evolcoder.app.run_rows import KINDS, FoundRow, RowFilter, RowPage, RunRows, children_of
from evolcoder.app.run_view import RunView
from evolcoder.app.shown_text import answer, evolved_text, notice, one_line, shown, tag
from evolcoder.app.widgets import (
    choices_with_any,
    error_html,
    html_view,
    pager,
    pager_text,
    pick_button,
    picked,
)
from evolcoder.errors import DataError
from evolcoder.report.table import round_name

PAGE_ROWS = 20
_OWN_PLACE = ("instruction", "input", "response", "id", "seed_id", "parent_id")
_EMPTY = Markup('<p class="soft">Choose a row to read it and to see its lineage.</p>')


def data_tab(view: RunView, page: gr.Blocks) -> None:
    """Build the tab inside the present block; `page` fills it when it loads."""
    with gr.Row(elem_classes=["filters"]):
        text = gr.Textbox(label="Search", placeholder="words in the texts, or an id", max_lines=1, scale=2)
        round_ = gr.Dropdown([("all", "")], value="", label="Round")
        kind = gr.Dropdown(
            choices_with_any([(kind, kind) for kind in KINDS], "all"),
            value="",
            label="Seed, kept, eliminated",
        )
        method = gr.Dropdown([("all", "")], value="", label="Method")
        reason = gr.Dropdown([("all", "")], value="", label="Eliminated because")
        verdict = gr.Dropdown([("all", "")], value="", label="Verdict of its answer")
    at = gr.State(0)
    with gr.Row(elem_classes=["split"]):
        with gr.Column(scale=5, min_width=320):
            rows = html_view(elem_id="data-rows", picks=True)
            back, on = pager("data")
        with gr.Column(scale=7, min_width=320):
            detail = html_view(_EMPTY, elem_id="data-detail", picks=True)
    filters: list[Any] = [text, round_, kind, method, reason, verdict]

    def wanted(*values: Any) -> RowFilter:
        words, number, *rest = (value or "" for value in values)
        return RowFilter(
            round=None if number == "" else int(number),
            kind=next((kind for kind in KINDS if kind == rest[0]), None),
            method=rest[1],
            reason=rest[2],
            verdict=rest[3],
            text=words,
        )

    def show(number: int, *values: Any) -> tuple[str, int]:
        try:
            found = view.rows().page(wanted(*values), max(0, number), PAGE_ROWS)
        except DataError as error:
            return error_html(error), 0
        return str(rows_html(found)), found.first // PAGE_ROWS

    def load(*values: Any) -> tuple[Any, ...]:
        try:
            index = view.rows()
        except DataError as error:
            return (*[gr.skip()] * 4, error_html(error), 0)
        rounds = [("seeds" if n == 0 else round_name(n), str(n)) for n in index.rounds()]
        return (
            gr.Dropdown(choices_with_any(rounds, "all")),
            *(
                gr.Dropdown(choices_with_any(_counted(index.values(name)), "all"), interactive=True)
                for name in ("method", "reason", "verdict")
            ),
            *show(0, *values),
        )

    def read(event: gr.EventData) -> str:
        number = picked(event)
        try:
            return str(detail_html(view.rows(), int(number)))
        except (DataError, ValueError, IndexError) as error:
            return error_html(error)

    page.load(load, filters, [round_, method, reason, verdict, rows, at], show_progress="hidden")
    for widget in filters:
        event = widget.submit if widget is text else widget.change
        event(lambda *values: show(0, *values), filters, [rows, at], show_progress="minimal")
    back.click(lambda at, *values: show(at - 1, *values), [at, *filters], [rows, at])
    on.click(lambda at, *values: show(at + 1, *values), [at, *filters], [rows, at])
    rows.click(read, None, detail).then(None, js=_SCROLL_TO_DETAIL)
    detail.click(read, None, detail)


_SCROLL_TO_DETAIL = """() => {
  const detail = document.getElementById('data-detail');
  if (detail && window.innerWidth < 900) detail.scrollIntoView({block: 'start'});
}"""


def _counted(values: Mapping[str, int]) -> list[tuple[str, Any]]:
    return [(f"{value[:60]} ({n:,})", value) for value, n in values.items()]


def rows_html(found: RowPage) -> Markup:
    """Return one page of rows as buttons."""
    lines = [
        pick_button(
            row.number,
            Markup("{}<span>{}</span>").format(_tags(row), one_line(row.row.get("instruction") or "", 170)),
        )
        for row in found.rows
    ]
    head = pager_text(found.first, len(found.rows), found.total, "rows")
    return head + Markup('<div class="list">{}</div>').format(Markup("").join(lines))


def _tags(found: FoundRow) -> Markup:
    row = found.row
    tags = [tag("seed" if found.kind == "seed" else f"round {row.get('round', '?')}")]
    if row.get("method"):
        tags.append(tag(row["method"]))
    if found.kind == "eliminated":
        tags.append(tag(row.get("reason") or "eliminated", "bad"))
    if row.get("verdict"):
        tags.append(tag(row["verdict"], "good" if row["verdict"] == "passed" else "warn"))
    return Markup('<span class="tags">{}</span>').format(Markup("").join(tags))


def detail_html(rows: RunRows, number: int) -> Markup:
    """Return one row whole, and the tree that it belongs to."""
    found = rows.row(number)
    row = found.row
    parts = [_tags(found), Markup('<p class="id">{}</p>').format(shown(row.get("id") or "", 200))]
    if found.kind == "eliminated":
        parts.append(notice(f"Eliminated: {row.get('reason') or '?'}. {row.get('detail') or ''}"))
    parts.append(
        Markup('<h3>Instruction</h3><p class="text">{}</p>').format(shown(row.get("instruction") or ""))
    )
    if row.get("input"):
        parts.append(Markup('<h3>Input</h3><p class="text">{}</p>').format(shown(row["input"])))
    parts.append(Markup("<h3>Answer</h3>") + answer(str(row.get("response") or "")))
    further = {key: value for key, value in row.items() if key not in _OWN_PLACE and value not in (None, "")}
    facts = Markup("").join(
        Markup("<dt>{}</dt><dd>{}</dd>").format(shown(key, 60), shown(value, 300))
        for key, value in further.items()
    )
    parts.append(Markup('<dl class="facts">{}</dl>').format(facts))
    tree, total = rows.tree(number)
    parts.append(Markup("<h3>Lineage</h3>") + tree_html(tree, total, number))
    return Markup('<div class="detail">{}</div>').format(Markup("").join(parts))


def tree_html(tree: list[FoundRow], total: int, chosen: int) -> Markup:
    """Return a lineage tree; what is new against the parent is marked, the chosen row too."""
    children = children_of(tree)

    def node(found: FoundRow, parent: str, depth: int) -> Markup:
        text = str(found.row.get("instruction") or "")
        inside = Markup('{}<span class="text">{}</span>').format(
            _tags(found), evolved_text(parent, text[:4000])
        )
        mine = pick_button(found.number, inside, "node", chosen=found.number == chosen)
        below = children.get(str(found.row.get("id")), []) if found.kind != "eliminated" else []
        if depth < 50:
            nested = Markup("").join(node(child, text[:4000], depth + 1) for child in below)
        else:
            nested = Markup("<li>…</li>")
        return Markup("<li>{}{}</li>").format(mine, Markup("<ul>{}</ul>").format(nested) if below else "")

    roots = Markup("").join(node(root, "", 0) for root in children.get(None, []))
    more = Markup('<p class="soft">and {:,} more rows of this tree</p>').format(total - len(tree))
    return Markup('<ul class="tree">{}</ul>{}').format(roots, more if total > len(tree) else "")
