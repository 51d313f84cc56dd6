"""Every stopping rule through its cases, driven by a simulated teacher and trainer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loop.simulation import InMemory, SimulatedSteps, until_done

from evolcoder.errors import BudgetExhaustedError, RecipeError
from evolcoder.loop.results import result_of
from evolcoder.loop.stages import Stages
from evolcoder.loop.stopping import RoundCost, RoundScore, decide
from evolcoder.loop.wizardcoder import LoopResult, wizardcoder
from evolcoder.progress import SilentProgress
from evolcoder.recipe import Budget, Recipe, Rounds, StopRule, recipe_from_data
from evolcoder.records import SEEDS_ROUND
from evolcoder.report.table import scores_table

N = 20


def problems(passed: int) -> list[bool]:
    """The first `passed` of 20 problems pass."""
    return [i < passed for i in range(N)]


def simulate(
    run: Path,
    stop: StopRule,
    passed: list[list[bool]],
    max_rounds: int | None = None,
    budget: Budget | None = None,
    **how: Any,
) -> tuple[LoopResult, SimulatedSteps]:
    work = SimulatedSteps(run, Stages(run, SilentProgress()), passed, **how)
    rounds = len(passed) - 1 if max_rounds is None else max_rounds

    def go(work: SimulatedSteps) -> LoopResult:
        return wizardcoder(work, stop, Rounds(rounds), budget or Budget())

    outcome = until_done(work, go)
    assert isinstance(outcome, LoopResult)
    return outcome, work


def simulate_in_memory(stop: StopRule, passed: list[list[bool]]) -> LoopResult:
    return wizardcoder(InMemory(passed), stop, Rounds(len(passed) - 1), Budget())


def rounds_and_best(outcome: LoopResult) -> tuple[int, int]:
    assert outcome.best is not None
    return outcome.history[-1].round, outcome.best.round


@pytest.mark.parametrize(
    ("passed", "last", "best", "said"),
    [
        ([5, 8, 7, 19], 2, 1, "round 2 scored 35.0%, below round 1 with 40.0%"),
        ([5, 4, 19], 1, 0, "round 1 scored 20.0%, below the base model with 25.0%"),
        ([5, 5, 5, 5], 3, 0, "max_rounds = 3 reached; round 3 scored 25.0%, as the base model with 25.0%"),
        ([5, 8, 8, 9], 3, 3, "max_rounds = 3 reached; round 3 scored 45.0%, above round 1 with 40.0%"),
        ([5, 9, 8], 2, 1, "round 2 scored 40.0%, below round 1 with 45.0%"),
    ],
    ids=["decline", "below the base at once", "flat", "rise", "decline at the last round"],
)
def test_decline_stops_after_the_first_round_below_the_best(
    tmp_path: Path, passed: list[int], last: int, best: int, said: str
) -> None:
    for rule in ("decline", "paper-v1"):
        outcome, _ = simulate(tmp_path / rule, StopRule(rule), [problems(n) for n in passed])
        assert rounds_and_best(outcome) == (last, best)
        assert outcome.decisions[-1].reason == said
        assert [decision.stop for decision in outcome.decisions] == [False] * last + [True]


@pytest.mark.parametrize(
    ("patience", "passed", "last", "best"),
    [
        (1, [5, 4, 19], 1, 0),
        (2, [5, 4, 6, 5, 6, 19], 4, 2),
        (2, [5, 4, 6, 5, 7, 6, 6], 6, 4),
        (3, [9, 8, 7, 6, 19], 3, 0),
        (2, [5, 5, 5, 19], 2, 0),
    ],
    ids=["one bad round", "an equal is no new best", "a new best starts anew", "down", "flat"],
)
def test_patience_waits_that_many_rounds_for_a_new_best(
    tmp_path: Path, patience: int, passed: list[int], last: int, best: int
) -> None:
    outcome, _ = simulate(tmp_path, StopRule("patience", patience=patience), [problems(n) for n in passed])
    assert rounds_and_best(outcome) == (last, best)
    assert f"patience = {patience}" in outcome.decisions[-1].reason


def test_noise_does_not_stop_a_run_by_the_rule_significant(tmp_path: Path) -> None:
    # Round 2 loses 5 problems and gains none: p = 2 / 2^5 = 0.0625.
    outcome, _ = simulate(tmp_path, StopRule("significant"), [problems(n) for n in (5, 10, 5, 11)])
    assert rounds_and_best(outcome) == (3, 3)
    assert outcome.decisions[2].reason == (
        "round 2 scored 25.0%, below round 1 with 50.0%, but this may be chance "
        "(5 problems lost, 0 gained, p = 0.062, above alpha = 0.05)"
    )


def test_a_decline_that_the_paired_test_confirms_stops_a_run(tmp_path: Path) -> None:
    # 6 lost, none gained: p = 2 / 2^6 = 0.03125.
    outcome, _ = simulate(tmp_path, StopRule("significant"), [problems(n) for n in (5, 10, 4, 20)])
    assert rounds_and_best(outcome) == (2, 1)
    assert "p = 0.031, at most alpha = 0.05" in outcome.decisions[-1].reason


def test_the_paired_test_looks_at_problems_not_at_scores(tmp_path: Path) -> None:
    # The same decline of 6, but 8 lost and 2 gained: p = 0.11.
    before, after = problems(10), [i in (0, 1, 18, 19) for i in range(N)]
    outcome, _ = simulate(tmp_path, StopRule("significant"), [problems(5), before, after])
    assert "8 problems lost, 2 gained, p = 0.11, above" in outcome.decisions[-1].reason
    strict, _ = simulate(tmp_path / "s", StopRule("significant", alpha=0.2), [problems(5), before, after])
    assert "at most alpha = 0.2" in strict.decisions[-1].reason


def test_forms_of_one_problem_lost_together_are_one_problem_lost() -> None:
    before, after = ({f"t/{i}": [passed] for i in range(N)} for passed in (True, False))
    kin = {f"t/{i}": str(i // 5) for i in range(N)}

    def stops(families: dict[str, str]) -> bool:
        history = [
            RoundScore(number, value, 0.0, 1.0, 10, N, verdicts, families=families)
            for number, (verdicts, value) in enumerate([(after, 0.0), (before, 1.0), (after, 0.0)])
        ]
        return decide(StopRule("significant"), 9, Budget(), history).stop

    assert stops({}) and not stops(kin)  # 20 of 20 lost; 4 of 4, p = 0.125


@pytest.mark.parametrize(
    ("budget", "last", "said"),
    [
        (Budget(max_usd=5.0), 2, "4 of 5 US dollars (max_usd) are spent and a round takes about 2"),
        (Budget(max_usd=6.0), 3, "6 of 6 US dollars"),
        (Budget(max_requests=100), 1, "60 of 100 requests (max_requests)"),
        (Budget(max_hours=2.5), 2, "2 of 2.5 hours (max_hours)"),
        (Budget(max_usd=100), 4, "max_rounds = 4 reached"),
    ],
)
def test_the_budget_stops_before_the_round_that_does_not_fit(
    tmp_path: Path, budget: Budget, last: int, said: str
) -> None:
    costs = [RoundCost(), *[RoundCost(usd=2.0, requests=60, seconds=3600)] * 4]
    passed = [problems(n) for n in (5, 4, 6, 3, 7)]
    for rule in ("budget", "max_rounds"):
        outcome, _ = simulate(tmp_path / rule, StopRule(rule), passed, budget=budget, costs=costs)
        assert outcome.history[-1].round == last
        assert said in outcome.decisions[-1].reason


def test_a_budget_that_ends_within_a_round_keeps_the_rounds_before(tmp_path: Path) -> None:
    outcome, work = simulate(
        tmp_path, StopRule("decline"), [problems(n) for n in (5, 6, 7, 8)], ends_within=3
    )
    assert rounds_and_best(outcome) == (2, 2)
    assert "within round 3, which does not count: no money" in outcome.decisions[-1].reason
    assert work.done["evolve:3"] == 0
    with pytest.raises(BudgetExhaustedError):
        simulate(tmp_path / "first", StopRule("decline"), [problems(5), problems(6)], ends_within=1)


def test_max_rounds_never_stops_early(tmp_path: Path) -> None:
    outcome, _ = simulate(tmp_path, StopRule("max_rounds"), [problems(n) for n in (9, 1, 0, 2)])
    assert rounds_and_best(outcome) == (3, 0)


RULES = st.sampled_from(["decline", "paper-v1", "patience", "significant", "budget", "max_rounds"])
VERDICTS = st.lists(st.booleans(), min_size=12, max_size=12)


@settings(max_examples=20, deadline=None)
@given(
    rule=RULES,
    passed=st.lists(VERDICTS, min_size=2, max_size=6),
    interrupts=st.sets(st.integers(1, 60), max_size=12),
    patience=st.integers(1, 3),
    usd=st.lists(st.floats(0.0, 3.0), min_size=6, max_size=6),
)
def test_interrupts_change_neither_the_best_checkpoint_nor_the_decision_nor_what_is_paid(
    rule: Any, passed: list[list[bool]], interrupts: set[int], patience: int, usd: list[float]
) -> None:
    stop, budget = StopRule(rule, patience=patience), Budget(max_usd=4.0)
    how = {"budget": budget, "costs": [RoundCost(usd=value) for value in usd]}
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = simulate(Path(folder, "plain"), stop, passed, **how)
        broken, work = simulate(Path(folder, "broken"), stop, passed, interrupts=interrupts, **how)
        again, after = simulate(Path(folder, "broken"), stop, passed, **how)
    assert broken == plain == again
    assert not after.done
    # A stage whose process died between its work and its marker is done once more; no other is.
    assert all(times == 1 for times in after.done.values())
    assert work.done.total() <= 3 * len(plain.history) - 2 + len(interrupts)


@settings(max_examples=200, deadline=None)
@given(rule=RULES, passed=st.lists(VERDICTS, min_size=2, max_size=6), patience=st.integers(1, 3))
def test_the_round_kept_is_the_earliest_of_the_highest_and_nothing_better_was_seen(
    rule: Any, passed: list[list[bool]], patience: int
) -> None:
    outcome = simulate_in_memory(StopRule(rule, patience=patience), passed)
    best = outcome.best
    counts = [sum(verdicts) for verdicts in passed[: len(outcome.history)]]
    assert best is not None
    assert best.round == counts.index(max(counts))
    assert outcome.history[-1].round <= len(passed) - 1


@settings(max_examples=200, deadline=None)
@given(passed=st.lists(VERDICTS, min_size=2, max_size=6), alpha=st.floats(0.01, 0.3))
def test_significant_never_stops_before_decline_does(passed: list[list[bool]], alpha: float) -> None:
    decline = simulate_in_memory(StopRule("decline"), passed)
    significant = simulate_in_memory(StopRule("significant", alpha=alpha), passed)
    assert len(significant.history) >= len(decline.history)


def recipe(**data: Any) -> Recipe:
    return recipe_from_data({"name": "t", **data}, "test")


@pytest.mark.parametrize(
    ("deciding", "reported"),
    [
        ("humaneval", "humaneval"),
        ("humaneval+", "humaneval"),
        ("humaneval", "humaneval+@v0.1.9"),
        ("mbpp-400", "mbpp:train"),
        ("mbpp", "mbpp:sanitized-test"),
        ("mbpp-400", "mbpp+"),
        ("mbpp:validation", "mbpp:all"),
        ("humaneval", "multipl-e:js"),
        ("mbpp-400", "multipl-e:mbpp-rs"),
    ],
)
def test_a_recipe_that_selects_on_its_test_is_refused_unless_told(deciding: str, reported: str) -> None:
    evaluate = {"benchmarks": [reported]}
    with pytest.raises(RecipeError, match=r"shares problems with .*select_on_test: true"):
        recipe(stop={"benchmark": deciding}, evaluate=evaluate)
    told = recipe(stop={"benchmark": deciding, "select_on_test": True}, evaluate=evaluate)
    assert told.stop.benchmark == deciding


@pytest.mark.parametrize(
    ("deciding", "reported"),
    [
        ("mbpp-400", "mbpp"),
        ("mbpp-400", "humaneval"),
        ("humaneval", "mbpp"),
        ("mbpp:train", "mbpp:validation"),
    ],
)
def test_sets_without_a_common_problem_are_taken(deciding: str, reported: str) -> None:
    assert recipe(stop={"benchmark": deciding}, evaluate={"benchmarks": [reported]}).measured == (
        reported,
        deciding,
    )


def test_where_the_last_round_is_kept_no_score_chooses(tmp_path: Path) -> None:
    kept_last = recipe(
        stop={"rule": "max_rounds", "keep": "last", "benchmark": "humaneval"},
        evaluate={"benchmarks": ["humaneval"]},
    )
    passed = [problems(2), problems(9), problems(4)]
    assert rounds_and_best(simulate(tmp_path, kept_last.stop, passed)[0]) == (2, 2)
    result = result_of(kept_last, simulate_in_memory(kept_last.stop, passed), "x")
    assert "notice" not in result and result["keep"] == "last"
    change = result["against_base"]
    assert (change["gained"], change["lost"], change["p_value"]) == (2, 0, 0.5)
    assert "* the last, kept: round 2" in scores_table(result)
    assert "2 gained, 0 lost of the problems, p = 0.5" in scores_table(result)
    with pytest.raises(RecipeError, match="decline looks at scores"):
        recipe(stop={"keep": "last"})


def test_the_papers_first_rule_by_its_name_decides_on_humaneval() -> None:
    stop = recipe(stop={"rule": "paper-v1"}).stop
    assert (stop.benchmark, stop.select_on_test) == ("humaneval", True)


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        ({"rule": "budget"}, "needs budget.max_usd, max_requests or max_hours"),
        ({"rule": "patience", "patience": 0}, "patience must be at least 1, found 0"),
        ({"alpha": 1.5}, "alpha must be between 0 and 1, found 1.5"),
    ],
)
def test_an_impossible_rule_is_refused(stop: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said.replace(".", r"\.")):
        recipe(stop=stop)


@pytest.mark.parametrize(
    ("base", "seeds", "first", "best", "said"),
    [
        (5, 9, 7, SEEDS_ROUND, "round 1 scored 35.0%, below the model of the seeds with 45.0%"),
        (8, 4, 6, 0, "max_rounds = 1 reached; round 1 scored 30.0%, above the model of the seeds with 20.0%"),
        (5, 5, 5, 0, "max_rounds = 1 reached; round 1 scored 25.0%, as the model of the seeds with 25.0%"),
    ],
)
def test_with_a_model_of_the_seeds_the_first_round_is_compared_with_that(
    base: int, seeds: int, first: int, best: int, said: str
) -> None:
    # The simulation's last entry is that of the round -1.
    work = InMemory([problems(base), problems(first), problems(seeds)])
    found = wizardcoder(work, StopRule(), Rounds(1, train_seeds=True), Budget())  # type: ignore[arg-type]
    assert [score.round for score in found.history] == [0, SEEDS_ROUND, 1]
    assert [decision.round for decision in found.decisions] == [SEEDS_ROUND, 1]
    assert found.decisions[-1].reason == said
    assert found.best is not None and found.best.round == best
