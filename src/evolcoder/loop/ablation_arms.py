"""What an ablation compares: the question, its arms, their training sets made equally large, their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from evolcoder.evaluate.comparison import compare
from evolcoder.evaluate.t_test import holm, mean_interval, welch_test
from evolcoder.evolve.methods import fraction_of
from evolcoder.loop.recipe_stages import RecipeStages
from evolcoder.records import Instruction

Over = Literal["rounds", "alone", "merged", "seeds-only", "steps", "methods", "teachers", "files"]
Equal = Literal["samples", "tokens", "supervised", "nothing"]

Count = Callable[[Instruction], int]
"""Returns the tokens of a row."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is ablated."""

    over: tuple[Over, ...] = ("rounds",)
    """"alone": each round's rows alone; "merged": the rounds merged; "rounds": both; "seeds-only": the base
    model, the model of the seeds, round 1; "steps": the rounds merged, each trained for each number of
    `steps`; "methods": each method left out; "teachers": the recipe's teacher and others; "files": the sets
    of `files`, with no evolution."""
    equal: tuple[Equal, ...] = ("samples", "tokens")
    """What is made the same for the rounds alone and for files: rows, tokens, or tokens of the answers, which
    are what training learns from ("supervised"). Methods and teachers are compared at equal samples unless
    this is only "nothing"."""
    teachers: tuple[str, ...] = ()
    """Further MODEL strings for "teachers"."""
    methods: tuple[str, ...] = ()
    """Methods that are left out one by one; all of the recipe's where empty."""
    steps: tuple[int, ...] = ()
    """Steps of training for "steps"."""
    files: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Arms for "files": a name, and the data files whose rows are its training set, in order."""
    seeds: int = 1
    """Trainings of each arm, which differ in their seed."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One training set to learn from."""

    group: str
    """The table it belongs to: "rounds alone, equal samples"."""
    name: str
    files: tuple[Path, ...]
    """Row files that it is made of, in order; none for the base model, which is not trained."""
    equal: Equal
    plans: tuple[RecipeStages, ...]
    """The runs that made its rounds: the ablation's own, or those of the recipes it differs from."""
    reference: bool = False
    """Whether the others of its group are compared with it."""
    data: str = ""
    """In the grid of rounds and steps: what the training set is."""
    steps: int | None = None
    """Steps of training; as the recipe says where absent."""


def made_equal(
    sets: Sequence[list[Instruction]], equal: Equal, count: Count, seed: int
) -> list[list[Instruction]]:
    """Return data sets equally large, in rows or tokens: the same random rows every time, in their order."""
    if equal == "nothing":
        return list(sets)
    drawn = [sorted(rows, key=lambda row: (fraction_of("arm", seed, row.id), row.id)) for rows in sets]
    if equal == "samples":
        size = min(map(len, sets))
        chosen = [{row.id for row in rows[:size]} for rows in drawn]
    else:
        limit = min(sum(map(count, rows)) for rows in sets)
        chosen = [_ids_within(rows, limit, count) for rows in drawn]
    return [[row for row in rows if row.id in ids] for rows, ids in zip(sets, chosen, strict=True)]


def _ids_within(rows: Sequence[Instruction], limit: int, count: Count) -> set[str]:
    ids, total = set(), 0
    for row in rows:
        if total + count(row) <= limit:
            total += count(row)
            ids.add(row.id)
    return ids


@dataclass(frozen=True, slots=True)
class ArmScore:
    """What an arm came to on one benchmark."""

    benchmark: str
    value: float
    """By its measure, the mean over the trainings."""
    low: float
    high: float
    """95% interval: over the problems where there was one training, over the trainings (Student's t) else."""
    n_problems: int
    n_samples: int
    """Of one training."""
    problems: str
    """Which part of the benchmark they are, as the score says it: "16 of 464, evenly spaced"."""
    trainings: tuple[float, ...]
    """Score of each training, by its seed."""
    measure: str = "pass@1"
    """What was measured: judged benchmarks name their own."""
    difference: float | None = None
    """Against the group's reference; None for the reference itself."""
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    """Against the reference: exact and paired over problems where there was one training, Welch's t over the
    trainings' scores else."""
    p_adjusted: float | None = None
    """The p value corrected for the number of arms (Holm)."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm with its size and its scores."""

    group: str
    name: str
    rows: int
    tokens: int
    """By the base model's tokenizer: of the answers where these were made equal, else of instructions, inputs
    and answers."""
    scores: tuple[ArmScore, ...]
    data: str = ""
    """In the grid of rounds and steps: what was trained on."""
    steps: int | None = None
    """In the grid: for how many steps."""


def arm_scores(arms: Sequence[Sequence[Mapping[str, Any]]], reference: int, benchmark: str) -> list[ArmScore]:
    """Return the scores of the arms of one group on one benchmark, each compared with the reference.

    `arms` are what each arm's trainings left in `scores.json`; `reference` is the place of one of them.
    """
    scores = [_alone(trainings, benchmark) for trainings in arms]
    against = [at for at in range(len(arms)) if at != reference]
    for at in against:
        scores[at] = _compared(scores[at], scores[reference], arms[at][0], arms[reference][0])
    adjusted = holm([scores[at].p_value or 0.0 for at in against])
    for at, p_value in zip(against, adjusted, strict=True):
        scores[at] = replace(scores[at], p_adjusted=p_value)
    return scores


def _alone(trainings: Sequence[Mapping[str, Any]], benchmark: str) -> ArmScore:
    found = [next(score for score in training["scores"] if score["k"] == 1) for training in trainings]
    first, values = found[0], tuple(float(score["value"]) for score in found)
    low, high = first["low"], first["high"]
    if len(values) > 1:
        low, high = mean_interval(values, 1 / first["n_samples"])
    problems = first["settings"].get("problems") or str(first["n_problems"])
    n_problems, n_samples = first["n_problems"], first["n_samples"]
    measure = str(first["settings"].get("measure") or "pass@1")
    return ArmScore(benchmark, fmean(values), low, high, n_problems, n_samples, problems, values, measure)


def _compared(
    score: ArmScore, reference: ArmScore, found: Mapping[str, Any], base: Mapping[str, Any]
) -> ArmScore:
    if len(score.trainings) == len(reference.trainings) == 1:
        paired = compare(base["problems"], found["problems"], found.get("families"))
        difference, low, high, p_value = paired.difference, paired.low, paired.high, paired.p_value
    else:
        means = welch_test(reference.trainings, score.trainings, 1 / score.n_samples)
        difference, low, high, p_value = means.difference, means.low, means.high, means.p_value
    return replace(score, difference=difference, difference_low=low, difference_high=high, p_value=p_value)
