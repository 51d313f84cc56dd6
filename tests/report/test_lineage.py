"""Families, marked words, answers: what the report shows of the texts."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from evolcoder.report.lineage import answer_parts, dropped_examples, families, new_words
from evolcoder.report.rows import RowIndex, scan_rows
from evolcoder.report.run_folder import read_run
from evolcoder.runs import write_jsonl_whole

from .conftest import METHODS, RunBuilder


def indexed(folder: Path) -> RowIndex:
    run = read_run(folder)
    return scan_rows(run, run.rounds)[0]


def test_a_family_goes_from_its_seed_to_the_last_round(build_run: RunBuilder) -> None:
    index = indexed(build_run(rounds=3))
    shown = families(index, last_round=3)
    assert len(shown) == 6
    for family in shown:
        assert [step.round for step in family] == [0, 1, 2, 3]
        for _, child in itertools.pairwise(family):
            added = "".join(piece.text for piece in child.instruction if piece.new)
            assert added.strip() in METHODS[child.method]


def test_without_rows_in_the_last_round_the_round_before_it_is_shown(build_run: RunBuilder) -> None:
    run = build_run(rounds=2)
    (run / "round-2" / "evolved.jsonl").write_text("")
    index = indexed(run)
    assert {len(family) for family in families(index, last_round=2)} == {2}


def test_a_run_without_evolved_rows_has_no_families(build_run: RunBuilder) -> None:
    index = indexed(build_run(rounds=0))
    assert families(index, last_round=0) == []


def test_parents_that_point_at_each_other_end_the_chain(build_run: RunBuilder) -> None:
    run = build_run(rounds=1)
    rows = [{"id": "a", "parent_id": "b"}, {"id": "b", "parent_id": "a"}]
    write_jsonl_whole(run / "round-1" / "evolved.jsonl", rows)
    index = indexed(run)
    assert families(index, last_round=1) == []


def test_every_reason_of_elimination_has_one_example_a_round(build_run: RunBuilder) -> None:
    run = read_run(build_run(rounds=2))
    shown = [(example.round, example.reason) for example in dropped_examples(run.rounds)]
    expected = {(round_.number, r) for round_ in run.rounds for r in round_.summary.get("eliminated", {})}
    assert set(shown) == expected and len(shown) == len(expected)


@given(st.text(max_size=200), st.text(max_size=200))
def test_marked_words_join_to_the_text_unless_it_is_blank(parent: str, child: str) -> None:
    joined = "".join(piece.text for piece in new_words(parent, child))
    assert joined == child or not child.strip()


def marked(parent: str, child: str) -> str:
    return "".join(f"[{piece.text}]" if piece.new else piece.text for piece in new_words(parent, child))


def test_only_words_that_the_parent_lacks_are_marked() -> None:
    child = "Sort a long list of user names. Do it in place."
    assert (
        marked("Sort a list of user names.", child) == "Sort a [long ]list of user names. [Do it in place.]"
    )


def test_a_word_or_two_in_common_by_chance_are_not_called_kept() -> None:
    child = "Explain why the index of every event matters here."
    assert marked("Count the words of a file.", child) == f"[{child}]"


def test_answers_split_into_prose_and_code_even_without_a_closing_fence() -> None:
    parts = answer_parts("So:\n```python\nx = 1\n```\nand\n```\ny")
    assert [(part.kind, part.text, part.language) for part in parts] == [
        ("text", "So:", ""),
        ("code", "x = 1", "python"),
        ("text", "and", ""),
        ("code", "y", ""),
    ]
