"""Compare values as EvalPlus does, by version, and with its known faults mended.

| oracle | what it is |
|---|---|
| `evalplus-0.2.1` | 0.2.1: `assert_allclose`, no set comparison, a signed root check; caches warm |
| `evalplus-0.3.1` | 0.3.1: `allclose` with equal types, 8 set comparisons; HumanEval/32 never passes |
| `evalplus` | 0.3.1, HumanEval/32 judged by its root, float tolerance only where floats are expected |

(In 0.3.1 the branch of HumanEval/32 goes to the next test before it notes a pass. In both versions a float
among the expected values turns the tolerance on for all later tests of the problem.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evolcoder.sandbox.protocol import CallValue

ORACLES = ("evalplus", "evalplus-0.3.1", "evalplus-0.2.1")

NOT_NONE = frozenset({"check_str", "text_match_three", "text_starta_endb"})
"""MBPP+ functions whose answer only has to be None or not None as expected (match objects do not compare)."""
SET_EQUAL = frozenset(
    {
        *("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"),
        *("larg_nnum", "intersection_array", "find_dissimilar", "Diff"),
    }
)
"""MBPP+ functions whose answers are compared as sets (0.3.1)."""
_FLOAT_TOLERANCE = 1e-6
_RELATIVE = 1e-07


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one problem's tests expect of a function."""

    dataset: str
    """"humaneval" or "mbpp": the special cases go by data set and function name."""
    entry_point: str
    atol: float
    inputs: Sequence[tuple[Any, ...]]
    expected: Sequence[Any]


class ValueComparison:
    """Compares the values of a problem's tests in their order."""

    def __init__(self, oracle: str, wanted: Expectation) -> None:
        self._judge = _JUDGES[oracle]
        self._wanted = wanted
        self._atol = wanted.atol

    def __call__(self, number: int, value: CallValue, used: Any = None) -> str | None:
        """Return what is wrong with the value of a test, None for a right one.

        `used` holds the arguments as the call left them, for the oracle that looks at those. Raises nothing
        but MemoryError, whatever the value is.
        """
        if not value.ok:
            return value.error
        expected = self._wanted.expected[number]
        arguments = used if used is not None else self._wanted.inputs[number]
        try:
            right, self._atol = self._judge(self._wanted, arguments, value.value, expected, self._atol)
        except MemoryError:
            raise
        except Exception as error:
            # Comparison itself may fail (ragged arrays, unhashable members): that is a mismatch there too.
            return f"{type(error).__name__} while comparing: {error}"[:300]
        return None if right else f"expected {_shown(expected)}, got {_shown(value.value)}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 120 else text[:117] + "..."


def _judge_031(wanted: Expectation, arguments: Any, out: Any, exp: Any, atol: float) -> tuple[bool, float]:
    if wanted.dataset == "humaneval" and wanted.entry_point == "find_zero":
        return False, atol
    exact = _exact_031(wanted, arguments, out, exp, atol)
    if atol == 0 and _is_floats(exp, empty=False):
        atol = _FLOAT_TOLERANCE
    return _close_031(exact, out, exp, atol), atol


def _judge_mended(wanted: Expectation, arguments: Any, out: Any, exp: Any, atol: float) -> tuple[bool, float]:
    if wanted.dataset == "humaneval" and wanted.entry_point == "find_zero":
        return abs(_polynomial(arguments[0], out)) <= atol, atol
    exact = _exact_031(wanted, arguments, out, exp, atol)
    tolerance = _FLOAT_TOLERANCE if atol == 0 and _is_floats(exp, empty=False) else atol
    return _close_031(exact, out, exp, tolerance), atol


def _judge_021(wanted: Expectation, arguments: Any, out: Any, exp: Any, atol: float) -> tuple[bool, float]:
    exact: Any = out == exp
    if wanted.dataset == "mbpp":
        if wanted.entry_point == "are_equivalent":
            exact = exact or True
        elif wanted.entry_point == "sum_div":
            exact = exact or out == 0
        elif wanted.entry_point in NOT_NONE:
            exact = _as_not_none(out, exp)
    elif wanted.entry_point == "find_zero" and not _polynomial(arguments[0], out) <= atol:
        return False, atol
    if atol == 0 and _is_floats(exp, empty=True):
        atol = _FLOAT_TOLERANCE
    if not exact and atol != 0:
        import numpy as np

        _check_numbers(out, exp)
        np.testing.assert_allclose(out, exp, rtol=_RELATIVE, atol=atol)
        return True, atol
    return bool(exact), atol


def _exact_031(wanted: Expectation, arguments: Any, out: Any, exp: Any, atol: float) -> Any:
    exact: Any = out == exp
    if wanted.dataset != "mbpp":
        return exact
    name = wanted.entry_point
    if name == "are_equivalent":  # Mbpp/164: its tests do not agree on what is asked
        return exact or True
    if name == "sum_div":  # Mbpp/295
        return exact or out == 0
    if name == "surface_Area":  # Mbpp/581
        return exact or abs(out - _pyramid_surface(*arguments)) <= atol
    if name == "digit_distance_nums":  # Mbpp/558
        return exact or out == _digit_distance(*arguments)
    if name in SET_EQUAL:
        return set(out) == set(exp)
    if name in NOT_NONE:
        return _as_not_none(out, exp)
    return exact


def _close_031(exact: Any, out: Any, exp: Any, atol: float) -> bool:
    if exact or atol == 0:
        return bool(exact)
    if type(out) is not type(exp) or (isinstance(exp, (list, tuple)) and len(out) != len(exp)):
        return False
    import numpy as np

    _check_numbers(out, exp)
    return bool(np.allclose(out, exp, rtol=_RELATIVE, atol=atol))


def _check_numbers(out: Any, exp: Any) -> None:
    """Raise TypeError for what numpy must not make an array of.

    Strings would become arrays as wide as the longest, and an array of no elements is close to everything.
    """
    import numpy as np

    for item in out if isinstance(out, (list, tuple)) else (out,):
        if isinstance(item, (str, bytes)) or getattr(item, "dtype", np.dtype(float)).kind in "SU":
            raise TypeError("no number")
    if np.size(out) == 0 and np.size(exp) != 0:
        raise TypeError("no elements")


def _as_not_none(out: Any, exp: Any) -> Any:
    return out == exp if isinstance(out, bool) else exp == (out is not None)


def _is_floats(value: Any, empty: bool) -> bool:
    """True for a float or a list or tuple of floats; `empty` says what an empty one is."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, float) for item in value) if value else empty
    if isinstance(value, float):
        return True
    kind = getattr(value, "dtype", None)
    return type(value).__name__ == "ndarray" and str(kind) in ("float64", "float32")


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    """Value at x of the polynomial with these coefficients, lowest first (HumanEval/32)."""
    return sum(coefficient * math.pow(x, power) for power, coefficient in enumerate(coefficients))


def _pyramid_surface(base_edge: float, height: float) -> int:
    """Surface of a square pyramid whose `height` is from the base's middle to the apex (Mbpp/581)."""
    slant = math.sqrt((base_edge / 2) ** 2 + height**2)
    return round(base_edge**2 + 4 * (base_edge * slant) / 2)


def _digit_distance(a: int, b: int) -> int:
    """Sum of the differences of digits at equal places, the shorter number padded with zeros (Mbpp/558)."""
    width = max(len(str(a)), len(str(b)))
    pairs = zip(str(a).zfill(width), str(b).zfill(width), strict=True)
    return sum(abs(int(x) - int(y)) for x, y in pairs)


_Judge = Callable[[Expectation, Any, Any, Any, float], tuple[bool, float]]
_JUDGES: dict[str, _Judge] = {
    "evalplus": _judge_mended,
    "evalplus-0.3.1": _judge_031,
    "evalplus-0.2.1": _judge_021,
}
