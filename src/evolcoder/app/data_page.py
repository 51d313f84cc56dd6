"""The data of a run: every row by filter, page by page, each with its parent and its lineage tree."""

from __future__ import annotations

from typing import Literal

from markupsafe import Markup

from evolcoder.app.known_runs import RunView
from evolcoder.app.run_rows import KINDS, FoundRow, RowFilter, RowPage, RunRows, children_of
from evolcoder.app.widgets import (
    Place,
    answer,
    code,
    empty,
    evolved_text,
    notice,
    one_line,
    pages,
    pick_link,
    render,
    shown,
    tag,
)
from evolcoder.report.table import round_name

PAGE_ROWS = 20
_OWN_PLACE = ("instruction", "input", "response", "id", "seed_id", "parent_id")
_ALL = "all"
_COLUMNS: tuple[tuple[Literal["method", "reason", "verdict"], str], ...] = (
    ("method", "Method"),
    ("reason", "Eliminated because"),
    ("verdict", "Verdict of its answer"),
)


def data_page(view: RunView, place: Place) -> Markup:
    """Return the part of the page that shows a run's rows. Raises DataError for a broken file."""
    rows = view.rows()
    if not len(rows):
        return empty("No rows yet: the run has not taken its seeds.")
    kind = _kind(rows, place)
    wanted = RowFilter(
        round=place.number("round"),
        kind=next((known for known in KINDS if known == kind), None),
        method=place["method"],
        reason=place["reason"],
        verdict=place["verdict"],
        text=place["text"],
    )
    found = rows.page(wanted, place.number("page") or 0, PAGE_ROWS)
    number = _asked_for(rows, place)
    if number is None and not place["id"] and found.rows:
        number = found.rows[0].number
    detail = empty("No row of this id." if place["id"] else "Choose a row to read it.")
    if number is not None:
        detail = detail_html(rows, number, place)
    rounds = [(str(n), "seeds" if n == 0 else round_name(n)) for n in rows.rounds()]
    filters = [
        ("round", "Round", [("", "all"), *rounds], place["round"]),
        ("kind", "Rows", [(_ALL, "all"), *((kind, kind) for kind in KINDS)], kind or _ALL),
    ]
    for name, label in _COLUMNS:
        if values := rows.values(name):
            counted = [(value, f"{value[:60]} ({n:,})") for value, n in values.items()]
            filters.append((name, label, [("", "all"), *counted], place[name]))
    return render(
        "split.html.j2",
        name="data",
        what="rows",
        detail_label="The chosen row",
        hint="words in the texts, or an id",
        place=place,
        filters=filters,
        list=rows_html(found, place, number),
        detail=detail,
        back=place.href(id=None, row=None),
    )


def _kind(rows: RunRows, place: Place) -> str:
    """Return which rows are shown: at first those that were evolved and kept, where there are any."""
    if place["reason"]:
        return "eliminated"
    if place["kind"]:
        return place["kind"]
    return "kept" if any(source.kind == "kept" for source in rows.sources) and not place["round"] else _ALL


def _asked_for(rows: RunRows, place: Place) -> int | None:
    """Return the row that the address names: by its number where that row has the id, else by its id."""
    number, id_ = place.number("row"), place["id"]
    if number is not None and number < len(rows) and (not id_ or rows.row(number).row.get("id") == id_):
        return number
    return rows.number_of(id_) if id_ else None


def rows_html(found: RowPage, place: Place, chosen: int | None = None) -> Markup:
    """Return one page of rows, each a link to itself."""
    lines = [
        pick_link(
            _row_href(place, row),
            Markup("{}<span>{}</span>").format(_tags(row), one_line(row.row.get("instruction") or "", 170)),
            chosen=row.number == chosen,
        )
        for row in found.rows
    ]
    head = pages(place, found.first, len(found.rows), found.total, PAGE_ROWS, "rows")
    return head + Markup('<div class="list">{}</div>').format(Markup("").join(lines))


def _row_href(place: Place, found: FoundRow) -> str:
    return place.href(id=found.row.get("id"), row=found.number)


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


def detail_html(rows: RunRows, number: int, place: Place) -> Markup:
    """Return one row whole, what is new in it against its parent, and the tree that it belongs to."""
    found = rows.row(number)
    row = found.row
    tree, total = rows.tree(number)
    parent = next((other for other in tree if other.row.get("id") == row.get("parent_id")), None)
    text, before = (str((r.row if r else {}).get("instruction") or "") for r in (found, parent))
    parts = [_tags(found), Markup('<p class="id">{}</p>').format(shown(row.get("id") or "", 200))]
    if found.kind == "eliminated":
        parts.append(notice(f"Eliminated: {row.get('reason') or '?'}. {row.get('detail') or ''}"))
    head = "Instruction" + (", its new words marked" if before else "")
    parts.append(Markup('<h3>{}</h3><p class="text">{}</p>').format(head, evolved_text(before, text)))
    if parent is not None:
        form = Markup('<h3>Its parent <a href="{}">{}</a></h3><p class="text soft">{}</p>')
        id_ = shown(parent.row.get("id"), 100)
        parts.append(form.format(_row_href(place, parent), id_, shown(before)))
    if row.get("input"):
        parts.append(Markup("<h3>Input</h3>") + code(row["input"]))
    parts.append(Markup("<h3>Answer</h3>") + answer(str(row.get("response") or "")))
    further = {key: value for key, value in row.items() if key not in _OWN_PLACE and value not in (None, "")}
    facts = Markup("").join(
        Markup("<dt>{}</dt><dd>{}</dd>").format(shown(key, 60), shown(value, 300))
        for key, value in further.items()
    )
    parts.append(Markup('<dl class="row-facts">{}</dl>').format(facts))
    parts.append(Markup("<h3>Lineage</h3>") + tree_html(tree, total, number, place))
    return Markup('<div class="detail">{}</div>').format(Markup("").join(parts))


def tree_html(tree: list[FoundRow], total: int, chosen: int, place: Place) -> Markup:
    """Return a lineage tree; what is new against the parent is marked, the chosen row too."""
    children = children_of(tree)

    def node(found: FoundRow, parent: str, depth: int) -> Markup:
        text = str(found.row.get("instruction") or "")
        marked = evolved_text(parent, text[:4000])
        inside = Markup('{}<span class="text">{}</span>').format(_tags(found), marked)
        mine = pick_link(_row_href(place, found), inside, "node", chosen=found.number == chosen)
        below = children.get(str(found.row.get("id")), []) if found.kind != "eliminated" else []
        nested = Markup("<li>…</li>")
        if depth < 50:
            nested = Markup("").join(node(child, text[:4000], depth + 1) for child in below)
        return Markup("<li>{}{}</li>").format(mine, Markup("<ul>{}</ul>").format(nested) if below else "")

    roots = Markup("").join(node(root, "", 0) for root in children.get(None, []))
    more = Markup('<p class="soft">and {:,} more rows of this tree</p>').format(total - len(tree))
    return Markup('<ul class="tree">{}</ul>{}').format(roots, more if total > len(tree) else "")
