"""What an ablation compares: the question, its arms and their training sets made equally large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
