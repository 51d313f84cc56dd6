"""What verdicts of a judge come to: ratings or win rates with bootstrap intervals, in all and by part.

The length-controlled win rate is what the rate would be if both models' answers were of one length, by
AlpacaEval 2's definition (Dubois et al. 2024, arXiv 2404.04475): a logistic regression of the judge's
preference on tanh of the difference in length over its standard deviation, on the instruction's difficulty
and on the model; the rate is the mean of its predictions where the length term is zero. Differences from
AlpacaEval's figures: its difficulties are fitted over its leaderboard's models on its own 805 instructions,
here the benchmark's own number stands for them; its two rewritten baselines, which steady the fit, are not
there, a weak quadratic penalty steadies it instead.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.model_judge.settings import WIN_RATE
from evolcoder.evaluate.model_judge.verdicts import JudgedTurn
from evolcoder.evaluate.pass_at_k import wilson_interval
from evolcoder.records import Score

LENGTH_CONTROLLED = "length-controlled win rate"
Unit = TypeVar("Unit")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_RESAMPLES = 2000
_RESAMPLES_OF_FIT = 500
"""Of the length-controlled rate, whose regression is fitted anew each time."""
_PENALTY = 0.01
"""Of half the squared weights: too weak to move a rate, and the weights stay finite where one model always
wins."""
_STEPS = 100
_LONGEST_STEP = 2.0
_CLOSE = 1e-9

Vector = NDArray[np.float64]


class Compared(NamedTuple):
    """One comparison, as far as length control sees it."""

    worth: float
    """1 where the model wins, 0.5 for a tie, 0 where it loses."""
    longer_by: int
    """Characters of the model's answer less those of the other's."""
    difficulty: float | None = None
    """Of the instruction; None where not known."""


@dataclass(frozen=True, slots=True)
class Positions:
    """What the order of the answers did to the judge's choice."""

    first: int
    """Readable choices of the answer shown first."""
    second: int
    neither: int
    unreadable: int
    disagreeing: int
    """Pairs of readable choices that do not say the same."""


def judged_scores(
    turns: Sequence[JudgedTurn], benchmark: JudgedBenchmark, settings: Mapping[str, str]
) -> list[Score]:
    """Return the score in all, the length-controlled one beside a win rate, then one of each part.

    Turns whose verdict cannot be read count for nothing. The intervals are percentiles of a
    bootstrap over problems, with a fixed seed; where all problems are alike, which a bootstrap takes for
    certain, they are Wilson's. Raises ValueError where nothing can be read.
    """
    measure = settings["measure"]
    read = [turn for turn in turns if turn.worth is not None]
    if not read:
        raise ValueError("no verdict can be read")
    by_problem = _by_problem(read)
    scores = [_score(by_problem, benchmark.title, settings)]
    if measure == WIN_RATE:
        scores.append(_length_controlled(read, benchmark, settings))
    for name, part in _parts(read, benchmark).items():
        scores.append(_score(_by_problem(part), f"{benchmark.title} ({name})", settings))
    return scores


def counts(turns: Sequence[JudgedTurn]) -> dict[str, int]:
    """Return how often the judge said what, most frequent first."""
    said = Counter(turn.label for turn in turns)
    return dict(sorted(said.items(), key=lambda item: (-item[1], item[0])))


def win_counts(turns: Sequence[JudgedTurn], benchmark: JudgedBenchmark) -> dict[str, list[int]]:
    """Return [wins, ties, losses] in all and of each part, under the names of the scores."""
    found = {benchmark.title: _wins(turns)}
    parts = _parts(turns, benchmark)
    return found | {f"{benchmark.title} ({name})": _wins(part) for name, part in parts.items()}


def _wins(turns: Sequence[JudgedTurn]) -> list[int]:
    worths = [turn.worth for turn in turns]
    return [worths.count(1.0), worths.count(0.5), worths.count(0.0)]


def positions(turns: Sequence[JudgedTurn]) -> Positions:
    """Return how the judge's choices depend on the order of the answers."""
    choices = [choice for turn in turns for choice in turn.choices]
    agreeing = {("A", "B"), ("B", "A"), ("C", "C")}
    both = [turn.choices for turn in turns if turn.choices and None not in turn.choices]
    return Positions(
        first=choices.count("A"),
        second=choices.count("B"),
        neither=choices.count("C"),
        unreadable=choices.count(None),
        disagreeing=sum(pair not in agreeing for pair in both),
    )


def worth_by_task(turns: Sequence[JudgedTurn]) -> dict[str, list[float]]:
    """Return the mean worth of each sample's turns, by task id; without those that cannot be read."""
    samples: dict[str, dict[int, list[float]]] = {}
    for turn in turns:
        if turn.worth is not None:
            samples.setdefault(turn.task_id, {}).setdefault(turn.index, []).append(turn.worth)
    return {task: [math.fsum(w) / len(w) for w in by.values()] for task, by in samples.items()}


def _by_problem(turns: Sequence[JudgedTurn]) -> dict[str, list[JudgedTurn]]:
    found: dict[str, list[JudgedTurn]] = {}
    for turn in turns:
        found.setdefault(turn.task_id, []).append(turn)
    return found


def _parts(turns: Sequence[JudgedTurn], benchmark: JudgedBenchmark) -> dict[str, list[JudgedTurn]]:
    parts: dict[str, list[JudgedTurn]] = {}
    several = len({turn.turn for turn in turns}) > 1
    for turn in turns:
        names = benchmark.groups(benchmark.by_task[turn.task_id])
        for name in (f"turn {turn.turn}", *names) if several else names:
            parts.setdefault(name, []).append(turn)
    return dict(sorted(parts.items(), key=lambda item: _order(item[0])))


def _order(name: str) -> tuple[str, float, str]:
    """Sort "difficulty 9" before "difficulty 10"; the rest by name."""
    word, _, number = name.rpartition(" ")
    return (word, float(number), "") if _NUMBER.fullmatch(number) else (name, 0.0, name)


def _score(by_problem: Mapping[str, Sequence[JudgedTurn]], title: str, settings: Mapping[str, str]) -> Score:
    worths = [[float(turn.worth or 0.0) for turn in turns] for turns in by_problem.values()]

    def mean(chosen: Sequence[Sequence[float]]) -> float:
        values = [worth for problem in chosen for worth in problem]
        return math.fsum(values) / len(values)

    value = mean(worths)
    low, high = _interval(worths, mean, value, _RESAMPLES)
    n_samples = len({(turn.task_id, turn.index) for turns in by_problem.values() for turn in turns})
    return Score(title, 1, value, low, high, len(worths), n_samples, dict(settings))


def _length_controlled(
    turns: Sequence[JudgedTurn], benchmark: JudgedBenchmark, settings: Mapping[str, str]
) -> Score:
    compared: dict[str, list[Compared]] = {}
    for turn in turns:
        difficulty = benchmark.difficulty(benchmark.by_task[turn.task_id])
        one = Compared(float(turn.worth or 0.0), turn.longer_by, difficulty)
        compared.setdefault(turn.task_id, []).append(one)

    def rate(chosen: Sequence[Sequence[Compared]]) -> float:
        return length_controlled_rate([one for problem in chosen for one in problem])

    problems = list(compared.values())
    value = rate(problems)
    if len({turn.worth for turn in turns}) == 1:
        low, high = wilson_interval(value * len(problems), len(problems))
    else:
        low, high = _interval(problems, rate, value, _RESAMPLES_OF_FIT)
    n_samples = len({(turn.task_id, turn.index) for turn in turns})
    named = {**settings, "measure": LENGTH_CONTROLLED}
    title = f"{benchmark.title} (length-controlled)"
    return Score(title, 1, value, low, high, len(problems), n_samples, named)


def _interval(
    problems: Sequence[Sequence[Unit]],
    statistic: Callable[[Sequence[Sequence[Unit]]], float],
    value: float,
    resamples: int,
) -> tuple[float, float]:
    """Return the 95% percentile interval of a statistic over problems drawn with replacement."""
    if len({tuple(problem) for problem in problems}) == 1:
        return wilson_interval(value * len(problems), len(problems))
    chance = np.random.default_rng(0)
    draws = chance.integers(0, len(problems), size=(resamples, len(problems)))
    values = [statistic([problems[at] for at in draw]) for draw in draws.tolist()]
    low, high = np.percentile(values, [2.5, 97.5])
    return min(float(low), value), max(float(high), value)


def length_controlled_rate(compared: Sequence[Compared]) -> float:
    """Return the length-controlled win rate, a fraction; raises ValueError without a comparison."""
    if not compared:
        raise ValueError("no comparison")
    worths, longer_by, difficulties = zip(*compared, strict=True)
    known = [difficulty for difficulty in difficulties if difficulty is not None]
    middle = float(np.mean(known)) if known else 0.0
    length = np.tanh(_over_deviation(np.array(longer_by, dtype=np.float64)))
    hard = np.array([0.0 if difficulty is None else difficulty - middle for difficulty in difficulties])
    features = np.stack([length, _over_deviation(hard), np.ones(len(compared))], axis=1)
    weights = _fitted(features, np.array(worths, dtype=np.float64))
    features[:, 0] = 0.0
    return float(np.mean(_logistic(features @ weights)))


def _over_deviation(values: Vector) -> Vector:
    """Return values over their standard deviation; zeros where they do not differ."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return values / deviation if deviation > 0 else np.zeros_like(values)


def _fitted(features: Vector, worth: Vector) -> Vector:
    """Return the weights of greatest penalised likelihood, by Newton's method."""
    weights = np.zeros(features.shape[1])
    penalty = _PENALTY * np.eye(features.shape[1])
    for _ in range(_STEPS):
        likely = _logistic(features @ weights)
        slope = features.T @ (likely - worth) + penalty @ weights
        bend = (features * (likely * (1 - likely))[:, None]).T @ features + penalty
        step = np.clip(np.linalg.solve(bend, slope), -_LONGEST_STEP, _LONGEST_STEP)
        weights -= step
        if float(np.max(np.abs(step))) < _CLOSE:
            break
    return weights


def _logistic(values: Vector) -> Vector:
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)
