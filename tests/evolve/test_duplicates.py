import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evolcoder.evolve.duplicates import DuplicateIndex, KeyTable, Spool, Text, triples

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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1), max_size=30), max_size=12),
    st.sampled_from([1, 20, 50, 1000]),
)
def test_the_table_returns_every_row_of_a_key_oldest_first_from_memory_and_disk(
    batches: list[list[int]], most_in_memory: int
) -> None:
    table, row = KeyTable(Spool(), most_in_memory), 0
    expected: dict[int, list[int]] = {}
    for batch in batches:
        rows = list(range(row, row + len(batch)))
        row += len(batch)
        if batch:
            table.add(np.array(batch, dtype=np.uint64), np.array(rows, dtype=np.uint32))
        for key, place in zip(batch, rows, strict=True):
            expected.setdefault(key, []).append(place)
    asked = sorted({*range(41), *expected})
    found = table.find(np.array(asked, dtype=np.uint64))
    assert {asked[position]: rows for position, rows in found.items()} == expected


def test_a_key_that_goes_on_behind_a_fence_is_found_whole() -> None:
    table = KeyTable(Spool(), 700)
    keys = np.repeat(np.arange(7, dtype=np.uint64), 100)
    table.add(keys, np.arange(700, dtype=np.uint32))
    found = table.find(np.arange(8, dtype=np.uint64))
    assert found == {key: list(range(100 * key, 100 * key + 100)) for key in range(7)}


def test_copies_of_texts_that_left_the_memory_are_found() -> None:
    rng = random.Random(3)
    originals = [text_of(rng, 12) for _ in range(20_000)]
    index = DuplicateIndex(0.85)
    index.add_all(Text(text, f"t{i}") for i, text in enumerate(originals))
    exact = index.add_new([Text(text.upper(), "other") for text in originals[:100]])
    assert [duplicate and tuple(duplicate) for duplicate in exact] == [(i, 1.0) for i in range(100)]
    near = index.add_new([Text(f"{text} one", "other") for text in originals[100:200]])
    assert [duplicate and duplicate.row for duplicate in near] == list(range(100, 200))
    assert index.add_new([Text(f"{originals[0]} two", "t0")]) == [None]


def test_where_only_exact_copies_count_those_of_early_texts_are_found_too() -> None:
    index = DuplicateIndex(None)
    index.add_all(Text(f"text {i}", "t") for i in range(10_000))
    found = index.add_new([Text("text 17", "t"), Text("text 17 b", "t"), Text("Text 9999.", "other")])
    assert [duplicate and duplicate.row for duplicate in found] == [17, None, 9999]


def test_a_short_text_is_one_triple() -> None:
    assert triples(["a"]) == ["a"]
    assert triples(["a", "b", "c", "d"]) == ["a b c", "b c d"]
