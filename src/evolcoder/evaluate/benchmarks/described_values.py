"""What a program answers where that is too long to bring out whole, or where its arguments matter.

A wrapper appended to the program replaces long strings and lists by their length and sha256, or by compressed
numbers, and brings the arguments as the call left them. Expected values stay on this side.
"""

from __future__ import annotations

import array
import zlib
from dataclasses import dataclass, replace
from typing import Any

from evolcoder.sandbox.protocol import CallValue

WRAPPER_NAME = "evolcoder_described_call"
_MOST_NUMBERS = 50_000_000

# Runs in the candidate's process. A program may lie about its own values, but it knows no expected ones.
_WRAPPER = """

def evolcoder_described_call(*arguments, _name={name!r}, _keep={keep!r}, _compact={compact!r}):
    def describe(value, depth=0):
        kind = type(value)
        if not _compact or depth > 40:
            return ("value", value)
        if kind is str and len(value) > 10000:
            import hashlib
            data = value.encode("utf-8", "surrogatepass")
            return ("digest", [len(value), hashlib.sha256(data).hexdigest()])
        if kind is list and len(value) > 10000 and set(map(type, value)) <= {{int, float}}:
            import array, zlib
            if all(kind is float or abs(item) < 2**53 for item in value for kind in (type(item),)):
                kinds = bytes(type(item) is float for item in value)
                numbers = array.array("d", value).tobytes()
                return ("numbers", [len(value), zlib.compress(kinds, 1), zlib.compress(numbers, 1)])
        if kind in (list, tuple) and len(value) > 10000:
            import hashlib
            data = repr(value).encode("utf-8", "surrogatepass")
            return ("digest", [len(value), kind.__name__ + " " + hashlib.sha256(data).hexdigest()])
        if kind in (list, tuple):
            return (kind.__name__, [describe(item, depth + 1) for item in value])
        if kind is dict:
            return ("dict", [(describe(k, depth + 1), describe(v, depth + 1)) for k, v in value.items()])
        return ("value", value)

    result = describe(globals()[_name](*arguments))
    return (result, list(arguments)) if _keep else (result,)
"""


def described_program(
    program: str, entry_point: str, *, keep_arguments: bool = False, compact: bool = False
) -> str:
    """Return the program with a wrapper of `entry_point` after it; call `WRAPPER_NAME`.

    The wrapper returns (description,), or (description, arguments after the call). With `compact`, a string
    of over 10,000 characters comes back as its length and sha256, a list of as many numbers compressed, and
    any other list or tuple as its length and the sha256 of its repr.
    """
    return program + "\n" + _WRAPPER.format(name=entry_point, keep=keep_arguments, compact=compact)


@dataclass(frozen=True, slots=True)
class Digest:
    """Stands for a long string, list or tuple; equal to the digest of an equal one."""

    length: int
    sha256: str


def rebuilt_call(value: CallValue) -> tuple[CallValue, list[Any] | None]:
    """Return what the wrapper's answer means: the function's value, and its arguments afterwards if kept."""
    if not value.ok:
        return value, None
    try:
        description, *arguments = value.value
        return replace(value, value=rebuilt(description)), arguments[0] if arguments else None
    except MemoryError:
        raise
    except Exception as error:
        # The description is the candidate's: whatever it breaks, it breaks its own verdict only.
        return CallValue(False, None, f"unsupported: {error}"[:200], value.cpu_s), None


def rebuilt(description: Any) -> Any:
    """Return the value that a description stands for; raises an Exception on nonsense."""
    name, parts = description
    if name == "value":
        return parts
    if name == "digest":
        return Digest(*parts)
    if name == "numbers":
        return _numbers(*parts)
    if name == "dict":
        return {rebuilt(key): rebuilt(value) for key, value in parts}
    return {"list": list, "tuple": tuple}[name](map(rebuilt, parts))


def _numbers(length: int, kinds: bytes, numbers: bytes) -> list[int | float]:
    """Unpack a compressed list of numbers; never more bytes than its stated length asks for."""
    if not 0 <= length <= _MOST_NUMBERS:
        raise ValueError("a list of that length cannot be")
    floats = zlib.decompressobj().decompress(kinds, length + 1)
    values = array.array("d", zlib.decompressobj().decompress(numbers, 8 * length + 8))
    if len(floats) != length or len(values) != length:
        raise ValueError("a list is not as long as it says")
    return [value if is_float else int(value) for value, is_float in zip(values, floats, strict=True)]
