"""Rows of a run by filter and page: what a slow, plain look would find, and quickly where there are many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolcoder.app.known_runs import RunView
from evolcoder.app.run_rows import SEARCHED, RowFilter, RowSource, RunRows, children_of, row_sources
from evolcoder.errors import DataError
from evolcoder.report.run_folder import read_run
from evolcoder.runs import write_jsonl_whole

from .app_run import make_app_run

METHODS = ["deepen", "misdirect", ""]
TEXTS = st.text(st.sampled_from('abAB é"\\/\n\t<&ßİ'), max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries({"instruction": TEXTS, "response": TEXTS, "method": st.sampled_from(METHODS)}),
    max_size=12,
)


def index_of(folder: Path, rows: list[dict[str, Any]]) -> RunRows:
    written = [{"id": f"r{n}", "seed_id": f"s{n % 3}", **row} for n, row in enumerate(rows)]
    half = len(written) // 2
    write_jsonl_whole(folder / "a.jsonl", written[:half])
    write_jsonl_whole(folder / "b.jsonl", written[half:])
    return RunRows([RowSource(folder / "a.jsonl", 1, "kept"), RowSource(folder / "b.jsonl", 2, "eliminated")])


def plainly(rows: list[dict[str, Any]], wanted: RowFilter) -> list[int]:
    half, found = len(rows) // 2, []
    text = wanted.text.strip()
    for n, row in enumerate(rows):
        kind, round_ = ("kept", 1) if n < half else ("eliminated", 2)
        fields = [str({"id": f"r{n}", **row}.get(name) or "") for name in SEARCHED]
        ascii_only = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
        if text.isascii():
            holds = any(text.translate(ascii_only) in field.translate(ascii_only) for field in fields)
        else:
            holds = any(text.casefold() in field.casefold() for field in fields)
        if (
            holds
            and wanted.kind in (None, kind)
            and wanted.round in (None, round_)
            and (not wanted.method or wanted.method == row["method"])
        ):
            found.append(n)
    return found


@given(
    ROWS,
    st.builds(
        RowFilter,
        round=st.sampled_from([None, 1, 2]),
        kind=st.sampled_from([None, "kept", "eliminated"]),
        method=st.sampled_from([None, "deepen", "unheard of"]),
        text=TEXTS,
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_filter_finds_what_a_plain_look_finds(
    tmp_path: Path, rows: list[dict[str, Any]], wanted: RowFilter
) -> None:
    index = index_of(tmp_path, rows)
    found, page = [], 0
    while len(found) < index.page(wanted, 0, 3).total:
        shown = index.page(wanted, page, 3)
        assert shown.first == len(found)
        found += [row.number for row in shown.rows]
        page += 1
    assert found == plainly(rows, wanted)
    for number in found:
        assert index.row(number).row["instruction"] == rows[number]["instruction"]


def test_a_page_past_the_end_is_the_last_one(tmp_path: Path) -> None:
    index = index_of(tmp_path, [{"instruction": str(n), "method": ""} for n in range(7)])
    assert [row.number for row in index.page(RowFilter(), 99, 3).rows] == [6]
    assert index.page(RowFilter(), -5, 3).first == 0
    assert index.page(RowFilter(text="nowhere"), 4, 3).rows == ()
    with pytest.raises(IndexError):
        index.row(7)


def test_a_run_without_rows_is_empty_and_not_an_error(tmp_path: Path) -> None:
    index = RunRows([])
    assert len(index) == 0 and index.page(RowFilter(text="x", method="y"), 0).total == 0
    assert index.values("method") == {} and index.rounds() == []


def test_a_run_s_rows_are_counted_by_method_and_reason(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", hostile=False)
    index = RunView(run).rows()
    kept = sum(json.loads(p.read_bytes())["kept"] for p in run.glob("round-*/summary.json"))
    assert index.page(RowFilter(kind="kept"), 0).total == kept
    assert index.page(RowFilter(kind="seed"), 0).total == 120
    reasons = index.values("reason")
    assert sum(reasons.values()) == index.page(RowFilter(kind="eliminated"), 0).total
    for reason, n in reasons.items():
        assert index.page(RowFilter(reason=reason), 0).total == n
    assert index.rounds() == [0, 1, 2, 3]


def test_a_tree_holds_the_seed_and_all_that_came_of_it(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", hostile=False)
    index = RunRows(row_sources(read_run(run)))
    late = index.page(RowFilter(round=3, kind="kept"), 0).rows[0]
    tree, total = index.tree(late.number)
    assert total == len(tree) and {row.row["seed_id"] for row in tree} == {late.row["seed_id"]}
    assert tree[0].kind == "seed" and late.number in [row.number for row in tree]
    children = children_of(tree)
    assert [row.number for row in children[None]] == [tree[0].number]
    assert sum(map(len, children.values())) == total
    few, same = index.tree(late.number, most=2)
    assert len(few) == 2 and same == total and late.number in [row.number for row in few]


def test_rows_that_are_each_other_s_parents_are_still_all_shown(tmp_path: Path) -> None:
    rows = [
        {"id": "x", "parent_id": "y", "seed_id": "s"},
        {"id": "y", "parent_id": "x", "seed_id": "s"},
        {"id": "z", "parent_id": "z", "seed_id": "s"},
        {"id": "w", "parent_id": "gone", "seed_id": "s"},
    ]
    write_jsonl_whole(tmp_path / "a.jsonl", rows)
    tree, _ = RunRows([RowSource(tmp_path / "a.jsonl", 1, "kept")]).tree(0)
    children = children_of(tree)
    reached, waiting = [], list(children[None])
    while waiting:
        row = waiting.pop()
        reached.append(row.row["id"])
        waiting += children.get(str(row.row["id"]), [])
    assert sorted(reached) == ["w", "x", "y", "z"]


def test_new_rounds_are_seen_and_old_ones_not_read_again(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=1, finished=False)
    view = RunView(run)
    before = view.rows()
    assert view.rows() is before
    make_app_run(tmp_path / "longer", rounds=2)
    (tmp_path / "longer" / "round-2").rename(run / "round-2")
    assert view.rows() is not before and view.rows().rounds() == [0, 1, 2]


def test_what_is_no_run_or_no_row_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        RunView(tmp_path / "nowhere")
    run = make_app_run(tmp_path / "run", rounds=1)
    (run / "seeds.jsonl").write_text('{"id": 1}\nnonsense\n')
    with pytest.raises(DataError, match=r"seeds\.jsonl: line 2"):
        RunView(run).rows()
