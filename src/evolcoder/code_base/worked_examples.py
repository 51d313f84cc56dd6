"""Worked examples of a task made of a snippet, shown as earlier turns to teachers that need them.

Written for evolcoder, as those of `evolve/shots.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A snippet in Python, and what a good teacher makes of it."""

    code: str
    concepts: str
    task: str
    sign: str
    """Words of the task by which a copy of it is known."""


WORKED_EXAMPLES = (
    WorkedExample(
        '''\
def merge_settings(*layers):
    """Return one dict of several, the later ones win; None removes a key."""
    merged = {}
    for layer in layers:
        merged.update(layer)
    return {key: value for key, value in merged.items() if value is not None}''',
        "dictionary merging, variable arguments, dictionary comprehension, filtering",
        "Write a Python function apply_changes(stock, *changes). The dictionary stock maps the names of "
        "goods to how many there are; each of the changes maps names to how many came in, or went out if "
        "negative. Return a new dictionary with all changes added up, without goods of which none are "
        "left. Raise ValueError where a number falls below zero. apply_changes({'tea': 3}, {'tea': -3, "
        "'salt': 2}) returns {'salt': 2}.",
        "goods of which none are left",
    ),
    WorkedExample(
        '''\
class Window:
    """Holds the last few values and tells their mean."""

    def __init__(self, size):
        self.values = deque(maxlen=size)

    def add(self, value):
        self.values.append(value)
        return sum(self.values) / len(self.values)''',
        "classes, bounded queues, running mean, state",
        "Write a Python function smoothed(values, size), which returns a list as long as values: at each "
        "place the largest of the last size values up to there. Where fewer came so far, those count. A "
        "size below 1 raises ValueError. smoothed([2, 1, 4, 3], 2) returns [2, 2, 4, 4].",
        "the largest of the last size values",
    ),
)
