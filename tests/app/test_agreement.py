"""Agreement and win rates: published examples, limits, and what holds for any votes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.app.votes import (
    agreement_in_words,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    win_rate,
)

VOTES = st.sampled_from(["a", "tie", "b"])
WORTHS = st.sampled_from([0.0, 0.5, 1.0])
ITEMS = st.lists(st.lists(VOTES, max_size=5), max_size=12)


def test_cohen_s_kappa_of_the_textbook_table() -> None:
    table = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert cohen_kappa(table) == pytest.approx(0.4)


def test_fleiss_kappa_of_the_example_with_fourteen_raters() -> None:
    counts = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    items = [[str(c) for c, n in enumerate(row) for _ in range(n)] for row in counts]
    assert fleiss_kappa(items) == pytest.approx(0.2099, abs=1e-4)


def test_krippendorff_s_alpha_of_his_example_with_four_observers_and_gaps() -> None:
    observers = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    units = [[v for v in unit if v != "."] for unit in zip(*observers, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=1e-3)


@given(ITEMS)
def test_no_measure_leaves_its_bounds_and_full_agreement_is_one(items: list[list[str]]) -> None:
    alpha = krippendorff_alpha(items)
    assert alpha is None or -1 <= alpha <= 1
    same = [[choices[0]] * len(choices) for choices in items if choices]
    if (whole := krippendorff_alpha(same)) is not None:
        assert whole == pytest.approx(1)
    pairs = [(a[0], a[1]) for a in items if len(a) >= 2]
    kappa = cohen_kappa(pairs)
    assert kappa is None or -1 <= kappa <= 1 + 1e-12


@given(ITEMS, st.permutations(["a", "tie", "b"]), st.randoms())
def test_names_of_choices_and_order_of_people_do_not_matter(
    items: list[list[str]], names: list[str], chance: random.Random
) -> None:
    renamed = [[names[["a", "tie", "b"].index(choice)] for choice in choices] for choices in items]
    for choices in renamed:
        chance.shuffle(choices)
    assert krippendorff_alpha(renamed) == pytest.approx(krippendorff_alpha(items))


@given(st.lists(st.tuples(VOTES, VOTES), min_size=1, max_size=30))
def test_fleiss_of_two_people_goes_with_alpha(pairs: list[tuple[str, str]]) -> None:
    # alpha = 1 - (1 - kappa) * (N - 1) / N for full data, N the number of votes (Krippendorff 2004).
    kappa, alpha = fleiss_kappa(pairs), krippendorff_alpha(pairs)
    n = 2 * len(pairs)
    assert (kappa is None) == (alpha is None)
    if kappa is not None:
        assert alpha == pytest.approx(1 - (1 - kappa) * (n - 1) / n)


def test_agreement_by_chance_is_about_zero() -> None:
    chance = random.Random(1)
    items = [[chance.choice("ab") for _ in range(3)] for _ in range(3000)]
    assert abs(krippendorff_alpha(items) or 0) < 0.03
    assert agreement_in_words(0.01) == "slight" and agreement_in_words(-0.2) == "none"


def test_what_is_not_defined_is_none() -> None:
    assert cohen_kappa([]) is None and cohen_kappa([("a", "a")] * 3) is None
    assert fleiss_kappa([]) is None and fleiss_kappa([["a"], ["b"]]) is None
    assert fleiss_kappa([["a", "b"], ["a", "b", "b"]]) is None
    assert krippendorff_alpha([["a"], []]) is None and krippendorff_alpha([["a", "a"]]) is None
    assert win_rate({}) is None and win_rate({1: []}) is None
    assert agreement_in_words(None) == "not defined"


def test_a_win_rate_averages_the_votes_of_a_task_first() -> None:
    rate = win_rate({1: [1, 1, 1, 1], 2: [0], 3: [0.5]})
    assert rate is not None
    assert (rate.rate, rate.tasks) == (0.5, 3)
    assert (rate.wins, rate.ties, rate.losses) == (4, 1, 1)
    assert rate.p == 1.0


@given(
    st.dictionaries(
        st.integers(), st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=4), min_size=1
    )
)
def test_the_other_model_s_win_rate_mirrors_it(votes: dict[int, list[float]]) -> None:
    one = win_rate(votes)
    other = win_rate({task: [1 - vote for vote in values] for task, values in votes.items()})
    assert one is not None and other is not None
    assert one.low <= one.rate <= one.high and 0 <= one.low < one.high <= 1
    assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))
    assert one.p == other.p


@pytest.mark.parametrize(("p_win", "p_tie", "tasks"), [(0.5, 0.2, 20), (0.8, 0.1, 12), (0.95, 0.0, 30)])
def test_the_interval_holds_the_truth_as_often_as_it_says(p_win: float, p_tie: float, tasks: int) -> None:
    chance = random.Random(7)
    truth = p_win + p_tie / 2
    held = 0
    for _ in range(1500):
        draws = chance.choices([1.0, 0.5, 0.0], [p_win, p_tie, 1 - p_win - p_tie], k=tasks)
        rate = win_rate({task: [draw] for task, draw in enumerate(draws)})
        assert rate is not None
        held += rate.low <= truth <= rate.high
    assert held / 1500 > 0.93
