import random

from hypothesis import given, settings
from hypothesis import strategies as st

from evolcoder.evolve.duplicates import DuplicateIndex, Text, _SortedTables, triples

WORDS = [f"word{i}" for i in range(3000)]


def text_of(rng: random.Random, n: int = 80) -> str:
    return " ".join(rng.choices(WORDS, k=n))


def test_exact_copies_are_found_whatever_their_case_and_signs_and_tree() -> None:
    index = DuplicateIndex(None)
    found = index.add_new(
        [Text("Sort the list.", "a"), Text("sort THE list", "a"), Text("Sort a list.", "a")]
    )
    assert [duplicate and duplicate.row for duplicate in found] == [None, 0, None]


def test_near_copies_are_found_across_batches_and_far_ones_are_not() -> None:
    rng = random.Random(1)
    index = DuplicateIndex(0.85)
    originals = [text_of(rng) for _ in range(3000)]
    for start in range(0, 3000, 500):
        batch = [Text(t, f"t{start + i}") for i, t in enumerate(originals[start : start + 500])]
        assert index.add_new(batch) == [None] * 500
    near = [f"{t} and one" for t in originals[:300]]
    found = index.add_new([Text(t, "other") for t in near])
    assert [duplicate.row for duplicate in found if duplicate] == list(range(300))
    half = [" ".join(t.split()[:40]) + " " + text_of(rng, 40) for t in originals[:300]]
    assert index.add_new([Text(t, "other2") for t in half]) == [None] * 300


def test_near_copies_within_one_tree_are_what_evolution_makes_and_are_kept() -> None:
    text = text_of(random.Random(2))
    index = DuplicateIndex(0.8)
    assert index.add_new([Text(text, "tree"), Text(text + " more", "tree")]) == [None, None]
    assert index.add_new([Text(text + " most", "elsewhere")])[0] is not None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=12))
def test_the_table_returns_every_row_of_a_key_oldest_first(batches: list[list[int]]) -> None:
    import numpy as np

    table, expected, row = _SortedTables(), {}, 0
    for batch in batches:
        rows = list(range(row, row + len(batch)))
        row += len(batch)
        if batch:
            table.add(np.array(batch, dtype=np.uint64), np.array(rows, dtype=np.uint32))
        for key, place in zip(batch, rows, strict=True):
            expected.setdefault(key, []).append(place)
    found = table.find(np.arange(41, dtype=np.uint64))
    assert {key: sorted(rows) for key, rows in found.items()} == expected


def test_a_short_text_is_one_triple() -> None:
    assert triples(["a"]) == ["a"]
    assert triples(["a", "b", "c", "d"]) == ["a b c", "b c d"]
