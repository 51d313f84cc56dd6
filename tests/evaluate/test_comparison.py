"""Two files, problem by problem."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.evaluate.comparison import compare, exact_binomial_p


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
