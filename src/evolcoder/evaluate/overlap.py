"""Which benchmarks share problems: what chooses a checkpoint must not be what it is reported on.

By name, before any data is there: HumanEval and HumanEval+ are the same 164 problems, MBPP+ a choice from all
of MBPP's splits, and translations (MultiPL-E) the same problems again. By problem, once data is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from evolcoder.records import Problem

_NUMBERED = re.compile(r"(human[-_ ]?eval|mbpp)\D*?(\d+)", re.IGNORECASE)
_MBPP_SPLITS = {
    "mbpp": (11, 510),
    "mbpp:test": (11, 510),
    "mbpp:sanitized-test": (11, 510),
    "mbpp:prompt": (1, 10),
    "mbpp:validation": (511, 600),
    "mbpp:train": (601, 974),
    "mbpp-400": (511, 974),
}
"""First and last problem of the splits (Austin et al. 2021); every other MBPP set draws from all of them."""


def evaluation_folder(benchmark: str) -> str:
    """Return the name of the folder that a benchmark's samples and scores lie in."""
    short = Path(benchmark).stem if benchmark.endswith(".py") else benchmark
    return short.replace(":", "-").replace("@", "-")


def names_overlap(first: str, second: str) -> bool:
    """Whether two benchmarks share problems, as far as their names tell."""
    family, low, high = _family(first)
    other, other_low, other_high = _family(second)
    return family == other and low <= other_high and other_low <= high


def shared_problems(first: Iterable[Problem], second: Iterable[Problem]) -> tuple[str, ...]:
    """Return the task ids of `first` that `second` holds too, under whatever id or in the same words."""
    known = {key for problem in second for key in _keys(problem)}
    return tuple(problem.task_id for problem in first if not known.isdisjoint(_keys(problem)))


def selection_notice(deciding: str, reported: Sequence[str], rule: str) -> str:
    """Return the sentence that says that a test was used to select; "" where none was.

    `rule` is the stopping rule's name: "paper-v1" is the one of the paper's first version.
    """
    if deciding in reported or rule == "paper-v1":
        told = (
            f"{deciding} is both the benchmark reported and the one that chose the round; its score is "
            "therefore not a clean test score"
        )
        return told + (" (the rule of the paper's first version)." if rule == "paper-v1" else ".")
    shared = [name for name in reported if names_overlap(deciding, name)]
    if not shared:
        return ""
    return (
        f"{deciding} chose the round and shares problems with {', '.join(shared)}, whose score is therefore "
        "not a clean test score."
    )


def _family(name: str) -> tuple[str, float, float]:
    """Return the set of problems that a benchmark draws from, and the first and last number it may hold."""
    plain = name.lower().partition("@")[0]
    if plain.startswith("multipl-e:"):
        # Translations: of HumanEval, or of MBPP where the name says so.
        return ("mbpp", 1, 974) if ":mbpp" in plain else ("humaneval", 0, 163)
    if "humaneval" in plain:
        return "humaneval", 0, 163
    if "mbpp" in plain:
        return "mbpp", *_MBPP_SPLITS.get(plain, (1, 974))
    return plain.partition(":")[0], 0, float("inf")


def _keys(problem: Problem) -> set[str]:
    """What a problem is recognised by: its number in its family, and its words."""
    keys = {" ".join(problem.prompt.split())}
    if numbered := _NUMBERED.match(problem.task_id):
        keys.add(f"{re.sub(r'[^a-z]', '', numbered[1].lower())} {int(numbered[2])}")
    return keys
