"""Two files, problem by problem."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.evaluate.comparison import compare, exact_binomial_p, with_ids_of
from evolcoder.evaluate.pass_at_k import paired_interval


def test_the_exact_test_gives_the_binomial_tail() -> None:
    # scipy.stats.binomtest(2, 12).pvalue
    assert exact_binomial_p(2, 10) == pytest.approx(0.03857421875)
    assert exact_binomial_p(0, 0) == 1.0
    assert exact_binomial_p(5, 5) == 1.0


def test_problems_that_only_one_file_solves_are_named() -> None:
    a = {"p1": [True], "p2": [False], "p3": [True], "only a": [True]}
    b = {"p1": [True], "p2": [True], "p3": [False], "only b": [False]}
    c = compare(a, b)
    assert (c.n_problems, c.only_a, c.only_b) == (3, ("p3",), ("p2",))
    assert (c.only_in_a, c.only_in_b) == (("only a",), ("only b",))
    assert c.difference == 0 and c.low <= 0 <= c.high and c.p_value == 1


def rates(both: int, first: int, second: int, neither: int) -> tuple[list[float], list[float]]:
    pairs = [(1.0, 1.0)] * both + [(1.0, 0.0)] * first + [(0.0, 1.0)] * second + [(0.0, 0.0)] * neither
    return [x for x, _ in pairs], [y for _, y in pairs]


def test_the_interval_of_single_samples_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10, turned round: there the difference is first less second.
    for cells, low, high in (((36, 12, 2, 0), 0.0569, 0.3404), ((36, 14, 0, 0), 0.1528, 0.4167)):
        assert paired_interval(*rates(*cells)) == pytest.approx((-high, -low), abs=5e-5)


def test_no_difference_on_few_problems_is_no_proof_of_none() -> None:
    passed = {str(task): [task == 0] for task in range(32)}
    c = compare(passed, passed)
    assert c.difference == 0 and c.low == pytest.approx(-c.high) and c.high > 0.1
    more = {str(task): [task % 32 == 0] for task in range(3200)}
    assert compare(more, more).high < 0.02


@pytest.mark.parametrize("passes", [True, False])
def test_no_difference_of_many_samples_has_a_width_too(passes: bool) -> None:
    always = {str(task): [passes] * 5 for task in range(32)}
    c = compare(always, always)
    assert c.difference == 0 and c.low < -0.05 and c.high > 0.05


def test_one_sample_against_many_of_an_equal_model_is_no_difference() -> None:
    draw = random.Random(8)
    rates = [draw.betavariate(5, 1) for _ in range(100)]
    significant = 0
    for _ in range(300):
        few, many = (
            {str(task): [draw.random() < rate for _ in range(n)] for task, rate in enumerate(rates)}
            for n in (1, 20)
        )
        significant += compare(few, many).p_value <= 0.05
    assert significant <= 0.06 * 300  # by the sign alone: nearly all


def test_the_test_of_unequal_numbers_of_samples_deals_them_out() -> None:
    # Of four samples with two passes one is A's: 1 pass or 0, as often. Of four with three: 1 in 3 of 4.
    assert compare({"p": [True]}, {"p": [True, False, False]}).p_value == 1
    a = {"p": [False], "q": [False], "r": [False]}
    b = {task: [True, True, True] for task in a}
    assert compare(a, b).p_value == pytest.approx(2 * (1 / 4) ** 3)
    assert compare(b, a).p_value == pytest.approx(2 * (1 / 4) ** 3)
    # Dealt to two problems of one family, B's mean is the higher one in 7 of 16 ways.
    both = compare(a, b, {"p": "f", "q": "f"})
    assert both.p_value == pytest.approx(2 * (7 / 16) * (1 / 4))


def test_means_that_differ_by_rounding_are_equal() -> None:
    same = compare({"p": [0.1, 0.2]}, {"p": [0.15, 0.15]})
    assert (same.only_a, same.only_b, same.p_value) == ((), (), 1.0)


def test_equal_models_seldom_differ_where_problems_come_in_families() -> None:
    family_of = {f"{family}.{form}": str(family) for family in range(40) for form in range(1 + family % 6)}
    draw = random.Random(4)

    def passed() -> dict[str, list[bool]]:
        solved = {family: draw.random() < 0.4 for family in family_of.values()}
        return {task: [solved[family] ^ (draw.random() < 0.1)] for task, family in family_of.items()}

    pairs = [(passed(), passed()) for _ in range(300)]

    def told_apart(*families: dict[str, str]) -> tuple[int, int]:
        found = [compare(a, b, *families) for a, b in pairs]
        return sum(c.p_value < 0.05 for c in found), sum(not c.low <= 0 <= c.high for c in found)

    assert compare(*pairs[0]).n_families is None
    assert compare(*pairs[0], family_of).n_families == 40
    by_problem, by_family = told_apart(), told_apart(family_of)
    assert min(by_problem) > 30  # a tenth: kin are taken for further problems
    assert max(by_family) <= 20


def test_ids_are_matched_as_files_spell_them() -> None:
    known = {"HumanEval/1": [True], "HumanEval/2": [True]}
    spelt = {"HumanEval_1": [False], "2": [False], "Mbpp/1": [True]}
    assert with_ids_of(known, spelt) == {"HumanEval/1": [False], "HumanEval/2": [False], "Mbpp/1": [True]}
    two = {"A/1": [True], "B/1": [True]}
    assert with_ids_of(two, {"1": [True], "b-1": [False]}) == {"1": [True], "B/1": [False]}
    assert with_ids_of({"53": [True]}, {"HumanEval/53": [False]}) == {"53": [False]}
    assert with_ids_of({"1": [True]}, two) == two


CELLS = st.integers(0, 30)


@given(CELLS, CELLS, CELLS, CELLS)
def test_the_paired_interval_holds_the_difference_and_mirrors(a: int, b: int, c: int, d: int) -> None:
    low, high = paired_interval(*rates(a, b, c, d))
    n = a + b + c + d
    assert low + 1e-12 >= -1 and high <= 1 + 1e-12
    if n:
        assert low - 1e-12 <= (c - b) / n <= high + 1e-12
    mirrored = paired_interval(*rates(a, c, b, d))
    assert mirrored == pytest.approx((-high, -low))


VERDICTS = st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.booleans(), min_size=1, max_size=4))


@given(VERDICTS, VERDICTS)
def test_comparing_the_other_way_round_mirrors_the_result(
    a: dict[str, list[bool]], b: dict[str, list[bool]]
) -> None:
    there, back = compare(a, b), compare(b, a)
    assert there.p_value == back.p_value and there.only_a == tuple(t for t in a if t in back.only_b)
    assert there.difference == pytest.approx(-back.difference)


@given(VERDICTS)
def test_a_file_does_not_differ_from_itself(a: dict[str, list[bool]]) -> None:
    c = compare(a, a)
    assert (c.difference, c.p_value, c.only_a, c.only_b) == (0, 1, (), ())
