"""MBPP+ inputs as Python values: its JSON has lists where tuples, sets and complex numbers are meant.

Which problem means what is published with EvalPlus; the forms below are those facts as data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Arguments = list[Any]


def _tuples(arguments: Arguments) -> Arguments:
    """Every argument is a tuple."""
    return [tuple(a) for a in arguments]


def _lists_of_tuples(arguments: Arguments) -> Arguments:
    """Every argument is a list of tuples."""
    return [[tuple(item) for item in a] for a in arguments]


def _tuples_of_tuples(arguments: Arguments) -> Arguments:
    return [tuple(tuple(item) for item in a) for a in arguments]


def _first_list_of_tuples(arguments: Arguments) -> Arguments:
    return [[tuple(item) for item in arguments[0]], arguments[1]]


def _second_tuple(arguments: Arguments) -> Arguments:
    return [arguments[0], tuple(arguments[1])]


def _first_tuple(arguments: Arguments) -> Arguments:
    return [tuple(arguments[0]), *arguments[1:]]


def _list_of_sets(arguments: Arguments) -> Arguments:
    # An empty one is a dict there, and so it is here.
    return [[set(item) if isinstance(item, list) and item else {} for item in arguments[0]]]


def _float_and_complex(arguments: Arguments) -> Arguments:
    return [float(arguments[0]), complex(arguments[1])]


def _complex(arguments: Arguments) -> Arguments:
    return [complex(arguments[0])]


def _tuple_with_tuples(arguments: Arguments) -> Arguments:
    items = [tuple(item) if isinstance(item, list) else item for item in arguments[0]]
    return [tuple(items)]


def _dict_of_tuples(arguments: Arguments) -> Arguments:
    return [{key: tuple(value) for key, value in arguments[0].items()}, *arguments[1:]]


def _deep_tuples(value: Any) -> Any:
    return tuple(map(_deep_tuples, value)) if isinstance(value, list) else value


_FORMS: dict[Callable[[Arguments], Any], str] = {
    _tuples: "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    _lists_of_tuples: "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    _first_list_of_tuples: "75 413 444 753",
    _second_tuple: "106 750",
    _list_of_sets: "115",
    _float_and_complex: "124",
    _complex: "252",
    _first_tuple: "250 307 405 446 617 720 763 808",
    _tuples_of_tuples: "259 401 445",
    _tuple_with_tuples: "278",
    _dict_of_tuples: "722",
    _deep_tuples: "580 615 791",
}
_FORM_OF = {int(number): form for form, numbers in _FORMS.items() for number in numbers.split()}


def mbpp_plus_inputs(task_id: str, inputs: Any) -> list[tuple[Any, ...]]:
    """Return the argument tuples of one problem from its `base_input` or `plus_input` (`{}` means none)."""
    form = _FORM_OF.get(int(task_id.rsplit("/", 1)[-1]), tuple)
    return [tuple(form(arguments)) for arguments in inputs]
