"""MBPP+ inputs as Python values: its JSON has lists where tuples, sets and complex numbers are meant.

Which problem means what is published with EvalPlus; the forms below are those facts as data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Arguments = list[Any]


def _deep_tuples(value: Any) -> Any:
    return tuple(map(_deep_tuples, value)) if isinstance(value, list) else value


_FORMS: list[tuple[Callable[[Arguments], Any], str]] = [
    # Every argument is a tuple, a list of tuples, a tuple of tuples.
    (
        lambda a: map(tuple, a),
        "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    ),
    (
        lambda a: [[tuple(item) for item in part] for part in a],
        "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    ),
    (lambda a: [tuple(map(tuple, part)) for part in a], "259 401 445"),
    # The first one, or the second.
    (lambda a: [[tuple(item) for item in a[0]], a[1]], "75 413 444 753"),
    (lambda a: [a[0], tuple(a[1])], "106 750"),
    (lambda a: [tuple(a[0]), *a[1:]], "250 307 405 446 617 720 763 808"),
    # A list of sets: an empty one is a dict there, and so it is here.
    (lambda a: [[set(item) if isinstance(item, list) and item else {} for item in a[0]]], "115"),
    (lambda a: [float(a[0]), complex(a[1])], "124"),
    (lambda a: [complex(a[0])], "252"),
    (lambda a: [tuple(tuple(item) if isinstance(item, list) else item for item in a[0])], "278"),
    (lambda a: [{key: tuple(value) for key, value in a[0].items()}, *a[1:]], "722"),
    (_deep_tuples, "580 615 791"),
]
_FORM_OF = {int(number): form for form, numbers in _FORMS for number in numbers.split()}


def mbpp_plus_inputs(task_id: str, inputs: Any) -> list[tuple[Any, ...]]:
    """Return the argument tuples of one problem from its `base_input` or `plus_input` (`{}` means none)."""
    form = _FORM_OF.get(int(task_id.rsplit("/", 1)[-1]), tuple)
    return [tuple(form(arguments)) for arguments in inputs]
