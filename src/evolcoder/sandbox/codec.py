"""Plain data as bytes, decoded strictly: how values cross from an untrusted process.

Exactly the builtin types None, bool, int, float, complex, str, bytes, list, tuple, dict, set and frozenset
pass; a subclass or any other object is `UnsupportedValueError`. The decoder calls nothing that the sender
chose, reads no more than it was given, and refuses what is nested too deep, claims more than it carries, or
is built to make hashing slow. Standard library only: the same source runs inside the container.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any

MAX_DEPTH = 100
MAX_BYTES = 64 << 20
COLLISION_CHECK_ABOVE = 256
"""Sets and dicts larger than this are checked for keys that share a hash (a quadratic attack)."""
COLLISIONS_ALLOWED = 64

_U32 = struct.Struct("<I")
_F64 = struct.Struct("<d")
_C128 = struct.Struct("<dd")
_ARRAYS = {b"q": (int, 8), b"d": (float, 8)}


class UnsupportedValueError(Exception):
    """The value is not plain data, or is too deep or too large to cross."""


class MalformedValueError(Exception):
    """The bytes are no encoded value."""


def encode(value: Any, max_bytes: int = MAX_BYTES) -> bytes:
    """Encode plain data; raises UnsupportedValueError naming the offending type."""
    out = bytearray()
    try:
        _encode(value, out, 0, max_bytes)
    except RecursionError:
        raise UnsupportedValueError("nested too deep") from None
    return bytes(out)


def _encode(value: Any, out: bytearray, depth: int, max_bytes: int) -> None:
    kind = type(value)
    if kind is int:
        size = (value.bit_length() + 8) // 8
        if size < 256:
            out += b"i"
            out.append(size)
        else:
            out += b"I"
            out += _U32.pack(size)
        out += value.to_bytes(size, "little", signed=True)
    elif kind is str:
        data = value.encode("utf-8", "surrogatepass")
        out += b"s"
        out += _U32.pack(len(data))
        out += data
    elif value is None:
        out += b"N"
    elif value is True:
        out += b"T"
    elif value is False:
        out += b"F"
    elif kind is float:
        out += b"f"
        out += _F64.pack(value)
    elif kind is list or kind is tuple:
        _encode_sequence(value, out, depth, max_bytes, b"l" if kind is list else b"t")
    elif kind is dict:
        _open(b"m", len(value), out, depth)
        for key, item in value.items():
            _encode(key, out, depth + 1, max_bytes)
            _encode(item, out, depth + 1, max_bytes)
    elif kind is set or kind is frozenset:
        _open(b"e" if kind is set else b"z", len(value), out, depth)
        for item in value:
            _encode(item, out, depth + 1, max_bytes)
    elif kind is bytes:
        out += b"y"
        out += _U32.pack(len(value))
        out += value
    elif kind is complex:
        out += b"c"
        out += _C128.pack(value.real, value.imag)
    else:
        raise UnsupportedValueError(
            f"a value of type {kind.__module__}.{kind.__qualname__} is not plain data"[:200]
        )
    if len(out) > max_bytes:
        raise UnsupportedValueError(f"the value takes more than {max_bytes} bytes")


def _open(tag: bytes, count: int, out: bytearray, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise UnsupportedValueError(f"nested deeper than {MAX_DEPTH}")
    out += tag
    out += _U32.pack(count)


def _encode_sequence(value: Any, out: bytearray, depth: int, max_bytes: int, tag: bytes) -> None:
    # Long runs of numbers cross as one array: a hundred times quicker than one by one.
    if len(value) >= 8:
        kinds = set(map(type, value))
        if len(kinds) == 1:
            only = kinds.pop()
            code = "q" if only is int else "d" if only is float else ""
            if code:
                try:
                    packed = array(code, value)
                except OverflowError:
                    packed = None
                if packed is not None:
                    out += b"L" if tag == b"l" else b"U"
                    out += code.encode()
                    out += _U32.pack(len(value))
                    out += packed.tobytes()
                    return
    _open(tag, len(value), out, depth)
    for item in value:
        _encode(item, out, depth + 1, max_bytes)


def decode(data: bytes) -> Any:
    """Decode one value; raises MalformedValueError unless `data` is exactly one well-formed value."""
    try:
        value, end = _decode(data, 0, 0)
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError, TypeError, RecursionError) as error:
        raise MalformedValueError(f"malformed value: {type(error).__name__}") from None
    if end != len(data):
        raise MalformedValueError("malformed value: trailing bytes")
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    tag = data[at : at + 1]
    at += 1
    if tag == b"i":
        size = data[at]
        return _int(data, at + 1, size)
    if tag == b"s" or tag == b"y":
        (size,) = _U32.unpack_from(data, at)
        at += 4
        end = at + size
        if end > len(data):
            raise MalformedValueError("malformed value: a length reaches past the end")
        chunk = data[at:end]
        return (chunk.decode("utf-8", "surrogatepass") if tag == b"s" else bytes(chunk)), end
    if tag == b"N":
        return None, at
    if tag == b"T":
        return True, at
    if tag == b"F":
        return False, at
    if tag == b"f":
        return _F64.unpack_from(data, at)[0], at + 8
    if tag == b"c":
        return complex(*_C128.unpack_from(data, at)), at + 16
    if tag == b"I":
        (size,) = _U32.unpack_from(data, at)
        return _int(data, at + 4, size)
    if tag == b"L" or tag == b"U":
        return _array(data, at, tag)
    if tag in (b"l", b"t", b"m", b"e", b"z"):
        return _container(data, at, depth, tag)
    raise MalformedValueError("malformed value: unknown tag")


def _int(data: bytes, at: int, size: int) -> tuple[int, int]:
    end = at + size
    if end > len(data):
        raise MalformedValueError("malformed value: a length reaches past the end")
    return int.from_bytes(data[at:end], "little", signed=True), end


def _array(data: bytes, at: int, tag: bytes) -> tuple[Any, int]:
    code = data[at : at + 1]
    if code not in _ARRAYS:
        raise MalformedValueError("malformed value: unknown array type")
    (count,) = _U32.unpack_from(data, at + 1)
    at += 5
    end = at + count * 8
    if end > len(data):
        raise MalformedValueError("malformed value: a length reaches past the end")
    numbers = array(code.decode())
    numbers.frombytes(data[at:end])
    return (numbers.tolist() if tag == b"L" else tuple(numbers)), end


def _container(data: bytes, at: int, depth: int, tag: bytes) -> tuple[Any, int]:
    if depth >= MAX_DEPTH:
        raise MalformedValueError("malformed value: nested too deep")
    (count,) = _U32.unpack_from(data, at)
    at += 4
    if count > len(data) - at:  # an element takes a byte at least
        raise MalformedValueError("malformed value: a count reaches past the end")
    items = []
    for _ in range(count * 2 if tag == b"m" else count):
        item, at = _decode(data, at, depth + 1)
        items.append(item)
    if tag == b"l":
        return items, at
    if tag == b"t":
        return tuple(items), at
    keys = items[::2] if tag == b"m" else items
    if count > COLLISION_CHECK_ABOVE and len(set(map(hash_of, keys))) < count - COLLISIONS_ALLOWED:
        raise MalformedValueError("malformed value: too many keys share a hash")
    if tag == b"m":
        return dict(zip(keys, items[1::2], strict=True)), at
    return (set(items) if tag == b"e" else frozenset(items)), at


def hash_of(key: Any) -> str:
    """Return the key's hash as text: numbers crafted to collide do not collide as text."""
    return str(hash(key))
