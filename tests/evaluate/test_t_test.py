"""Seeds' means by t: known values, how often equal arms are told apart, what a design can see."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.evaluate.t_test import (
    holm,
    mean_interval,
    smallest_difference,
    t_quantile,
    two_sided_p,
    welch_test,
)

# Computed with scipy 1.x: t, degrees of freedom, 2 * scipy.stats.t.sf(t, df).
TAILS = [
    (0.0, 1, 1.0),
    (0.5, 1, 0.7048327646991335),
    (12.706, 1, 0.05000080235813319),
    (2, 1.5, 0.22418833035605112),
    (4.303, 2, 0.0499925249852145),
    (2.776, 4, 0.05002277831997642),
    (1.3, 3.7, 0.2686667241726275),
    (10, 4, 0.000562003622715991),
    (60, 2, 0.00027766209059467876),
    (2.1, 18.25, 0.04988825459442991),
    (0.01, 7, 0.9923003176436217),
    (5, 200, 1.2501981277715407e-06),
    (1.96, 1e6, 0.04999606758526985),
]
QUANTILES = [
    (0.975, 1, 12.706204736174694),
    (0.975, 2, 4.302652729749462),
    (0.975, 4, 2.7764451051977934),
    (0.8, 4, 0.9409645772351816),
    (0.8, 1, 1.3763819204711738),
    (0.975, 8, 2.306004135204166),
    (0.975, 30, 2.0422724563012378),
    (0.8, 2.5, 1.0101638747222512),
]


def test_students_t_has_the_values_of_scipy() -> None:
    for t, freedom, p in TAILS:
        assert two_sided_p(t, freedom) == pytest.approx(p, rel=1e-9)
        assert two_sided_p(-t, freedom) == two_sided_p(t, freedom)
    for probability, freedom, t in QUANTILES:
        assert t_quantile(probability, freedom) == pytest.approx(t, rel=1e-9)


def test_welch_has_the_values_of_scipy() -> None:
    found = welch_test([0.31, 0.33, 0.30], [0.35, 0.36, 0.33], 0.001)
    assert found.p_value == pytest.approx(0.0556544775597423)
    assert (-found.high, -found.low) == pytest.approx((-0.0679616877894523, 0.001295021122785539))
    uneven = welch_test([4.1, 5.2, 6.6, 4.8, 5.0], [5.9, 7.2, 6.1], 0.001)
    assert uneven.p_value == pytest.approx(0.07625031425286971)


def test_seeds_that_agree_are_no_proof_beyond_the_grain_of_the_score() -> None:
    same = welch_test([0.25, 0.25, 0.25], [0.25, 0.25, 0.25], 1 / 32)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert same.low < 0 < same.high
    low, high = mean_interval([0.0, 0.0, 0.0], 1 / 32)
    assert low == 0.0 < high


def test_a_constant_is_compared_by_the_spread_of_the_other_side() -> None:
    found = welch_test([0.10], [0.12, 0.13, 0.14], 1e-6)
    assert found.p_value == pytest.approx(two_sided_p(0.03 / (0.01 / 3**0.5), 2))
    with pytest.raises(ValueError, match="two scores"):
        welch_test([0.1], [0.2], 0.01)


def test_holm_corrects_in_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lowers_no_value_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(a >= v for a, v in zip(adjusted, values, strict=True))
    ordered = [a for _, a in sorted(zip(values, adjusted, strict=True))]
    assert ordered == sorted(ordered)


def scores(draw: random.Random, rates: list[float], trainings: int) -> list[float]:
    """Scores of equal trainings: problems of these pass rates, one point of run noise, one sample each."""
    found = []
    for _ in range(trainings):
        run = draw.gauss(0.0, 0.01)
        found.append(sum(draw.random() < rate + run for rate in rates) / len(rates))
    return found


def test_of_three_equal_arms_one_is_called_different_in_at_most_six_of_a_hundred_draws() -> None:
    draw, called = random.Random(5), 0
    for _ in range(1000):
        rates = [draw.betavariate(0.5, 0.5) for _ in range(100)]
        reference, *others = (scores(draw, rates, 3) for _ in range(4))
        tested = [welch_test(reference, other, 0.01).p_value for other in others]
        called += min(holm(tested)) < 0.05
    assert called <= 60


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_smallest_difference_is_found_in_about_eighty_of_a_hundred_draws(seeds: int) -> None:
    draw, found = random.Random(7), 0
    smallest = smallest_difference(0.3, problems=500, samples=20, seeds=seeds)
    for _ in range(1000):
        first, second = (
            [draw.gauss(draw.gauss(mean, 0.01), math.sqrt(mean * (1 - mean) / 10_000)) for _ in range(seeds)]
            for mean in (0.3, 0.3 + smallest)
        )
        found += welch_test(first, second, 1 / 10_000).p_value < 0.05
    assert 0.77 <= found / 1000 <= 0.83


def test_the_smallest_difference_falls_with_problems_samples_and_seeds() -> None:
    one = smallest_difference(0.04, 164, 1)
    assert one == pytest.approx(0.084, abs=0.001)
    assert smallest_difference(0.04, 164, 20) < smallest_difference(0.04, 500, 1) < one
    assert smallest_difference(0.04, 164, 20, seeds=5) < smallest_difference(0.04, 164, 20, seeds=3)
    # Of nothing passed, a few problems gained are needed; of a handful of problems, all.
    assert smallest_difference(0.0, 32, 1) == pytest.approx(7.85 / (32 + 7.85), abs=0.001)
    assert smallest_difference(0.5, 1, 1) == 1.0
    assert fmean([smallest_difference(r, 164, 1) for r in (0.2, 0.8)]) == smallest_difference(0.2, 164, 1)
