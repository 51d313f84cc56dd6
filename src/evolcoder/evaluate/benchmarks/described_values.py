"""Bring values that are not plain data out of a candidate: described there, rebuilt here.

EvalPlus compares with `==` in the candidate's own process, so a Counter equals a dict and a NumPy number
equals a float. A wrapper appended to the program describes each value it returns as plain data; this side
rebuilds values of known types and replaces all others with an object that equals nothing. Expected values
stay here.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import zlib
from dataclasses import dataclass
from typing import Any

from evolcoder.sandbox.protocol import CallValue

WRAPPER_NAME = "evolcoder_described_call"

# Runs in the candidate's process. A program may lie about its own values, but it knows no expected ones.
_WRAPPER = """

def evolcoder_described_call(*arguments, _name={name!r}, _keep={keep!r}, _compact={compact!r}):
    def describe(value, depth=0):
        kind = type(value)
        if _compact and kind is str and len(value) > 10000:
            import hashlib
            data = value.encode("utf-8", "surrogatepass")
            return ("digest", [len(value), hashlib.sha256(data).hexdigest()])
        if _compact and kind is list and len(value) > 10000 and set(map(type, value)) <= {{int, float}}:
            import array, zlib
            if all(kind is float or abs(item) < 2**53 for item in value for kind in (type(item),)):
                kinds = bytes(type(item) is float for item in value)
                numbers = array.array("d", value).tobytes()
                return ("numbers", [len(value), zlib.compress(kinds, 1), zlib.compress(numbers, 1)])
        if _compact and kind in (list, tuple) and len(value) > 10000:
            import hashlib
            data = repr(value).encode("utf-8", "surrogatepass")
            return ("digest", [len(value), kind.__name__ + " " + hashlib.sha256(data).hexdigest()])
        if kind in (type(None), bool, int, float, complex, str, bytes):
            return value
        if depth > 40:
            return ("?", "deep")
        below = depth + 1
        if kind in (list, tuple, set, frozenset):
            return (kind.__name__, [describe(item, below) for item in value])
        if kind is dict:
            return ("dict", [(describe(k, below), describe(v, below)) for k, v in value.items()])
        module = str(getattr(kind, "__module__", ""))
        name = module + "." + kind.__qualname__
        if module == "numpy":
            if hasattr(value, "ndim") and hasattr(value, "tolist") and value.dtype.kind in "biufcSU":
                if value.ndim == 0 and kind.__name__ != "ndarray":
                    return ("numpy scalar", [value.dtype.str, value.item()])
                return ("numpy array", [value.dtype.str, list(value.shape), value.ravel().tolist()])
            return ("?", name)
        if name in ("collections.Counter", "collections.OrderedDict", "collections.defaultdict"):
            return (name, [(describe(k, below), describe(v, below)) for k, v in value.items()])
        if name == "collections.deque":
            return (name, [describe(item, below) for item in value])
        if name in ("builtins.dict_keys", "builtins.range", "builtins.bytearray"):
            return (name, [describe(item, below) for item in value])
        if name == "builtins.dict_items":
            return (name, [(describe(k, below), describe(v, below)) for k, v in value])
        if name in ("decimal.Decimal", "fractions.Fraction"):
            return (name, [str(value)])
        if name in ("datetime.datetime", "datetime.date", "datetime.time"):
            return (name, [value.isoformat()])
        for base in (bool, int, float, str, bytes):
            if isinstance(value, base):
                return ("subclass", [describe(base.__new__(base, value), below)])
        for base in (list, tuple, set, frozenset):
            if isinstance(value, base):
                return ("subclass", [(base.__name__, [describe(item, below) for item in value])])
        if isinstance(value, dict):
            items = [(describe(k, below), describe(v, below)) for k, v in value.items()]
            return ("subclass", [("dict", items)])
        return ("?", name)

    result = describe(globals()[_name](*arguments))
    return (result, describe(list(arguments))) if _keep else (result,)
"""


def described_program(
    program: str, entry_point: str, *, keep_arguments: bool = False, compact: bool = False
) -> str:
    """Return the program with a wrapper of `entry_point` after it; call `WRAPPER_NAME`.

    The wrapper returns (description,), or (description, description of the arguments after the call). With
    `compact`, a string of over 10,000 characters comes back as its length and sha256, a list of as many
    numbers compressed, and any other list or tuple as its length and the sha256 of its repr.
    """
    return program + "\n" + _WRAPPER.format(name=entry_point, keep=keep_arguments, compact=compact)


@dataclass(frozen=True, slots=True)
class Digest:
    """Stands for a long string, list or tuple; equal to the digest of an equal one."""

    length: int
    sha256: str


class Unknown:
    """Stands for a value of a type that is not rebuilt; equal to nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def rebuilt_call(value: CallValue) -> tuple[CallValue, list[Any] | None]:
    """Return what the wrapper's answer means: the function's value, and its arguments afterwards if kept."""
    if not value.ok:
        return value, None
    answer = value.value
    if not isinstance(answer, tuple) or len(answer) not in (1, 2):
        return CallValue(
            False, None, "unsupported: the program changed how values are described", value.cpu_s
        ), None
    try:
        arguments = rebuilt(answer[1]) if len(answer) == 2 else None
        return CallValue(True, rebuilt(answer[0]), "", value.cpu_s), arguments
    except Exception as error:
        # The description is the candidate's: whatever it breaks, it breaks its own verdict only.
        return CallValue(False, None, f"unsupported: {error}"[:200], value.cpu_s), None


def rebuilt(description: Any) -> Any:
    """Return the value that a description stands for; raises what its constructor raises on nonsense."""
    if not isinstance(description, tuple):
        return description
    name, parts = description
    if name == "?":
        return Unknown(str(parts))
    if name in _FROM_PAIRS:
        return _FROM_PAIRS[name]((rebuilt(key), rebuilt(value)) for key, value in parts)
    if name in ("numpy scalar", "numpy array"):
        return _rebuilt_numpy(name, parts)
    return _FROM_ITEMS[name]([rebuilt(item) for item in parts])


def _rebuilt_numpy(name: str, parts: list[Any]) -> Any:
    import numpy as np

    if name == "numpy scalar":
        return np.dtype(parts[0]).type(parts[1])
    return np.array(parts[2], dtype=np.dtype(parts[0])).reshape(parts[1])


def _subclassed(items: list[Any]) -> Any:
    """Return a value that equals the base's value but is of another type, as a subclass's instance is."""
    base = type(items[0])
    other: Any = type(f"{base.__name__}_subclass", (base if base is not bool else int,), {})
    return other(items[0])


def _numbers(items: list[Any]) -> list[int | float]:
    """Unpack a compressed list of numbers; never more bytes than its stated length asks for."""
    length, kinds, numbers = items
    if not 0 <= length <= 100_000_000:
        raise ValueError("a list of that length cannot be")
    floats = zlib.decompressobj().decompress(kinds, length + 1)
    values = array.array("d", zlib.decompressobj().decompress(numbers, 8 * length + 8))
    if len(floats) != length or len(values) != length:
        raise ValueError("a list is not as long as it says")
    return [value if is_float else int(value) for value, is_float in zip(values, floats, strict=True)]


_FROM_PAIRS: dict[str, Any] = {
    "dict": dict,
    "collections.Counter": lambda pairs: collections.Counter(dict(pairs)),
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": lambda pairs: collections.defaultdict(None, pairs),
    "builtins.dict_items": lambda pairs: dict(pairs).items(),
}
_FROM_ITEMS: dict[str, Any] = {
    "digest": lambda items: Digest(*items),
    "numbers": _numbers,
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "collections.deque": collections.deque,
    "builtins.dict_keys": lambda items: dict.fromkeys(items).keys(),
    "builtins.range": lambda items: _range(items),
    "builtins.bytearray": bytearray,
    "decimal.Decimal": lambda items: decimal.Decimal(items[0]),
    "fractions.Fraction": lambda items: fractions.Fraction(items[0]),
    "datetime.datetime": lambda items: datetime.datetime.fromisoformat(items[0]),
    "datetime.date": lambda items: datetime.date.fromisoformat(items[0]),
    "datetime.time": lambda items: datetime.time.fromisoformat(items[0]),
    "subclass": _subclassed,
}


def _range(items: list[int]) -> range:
    step = items[1] - items[0] if len(items) > 1 else 1
    return range(items[0], items[-1] + (1 if step > 0 else -1), step) if items else range(0)
