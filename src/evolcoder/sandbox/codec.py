"""Values as bytes, decoded strictly: how they cross from an untrusted process.

Plain data (None, bool, int, float, complex, str, bytes, list, tuple, dict, set and frozenset, of exactly
these types) crosses as it is, other values as `objects` says. The decoder calls nothing that the sender
chose, reads no more than it was given, and refuses what is nested too deep, claims more than it carries,
would take much more memory than bytes, or is built to make hashing slow. Standard library only: the same
source runs inside the container.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any, Protocol

from evolcoder.sandbox.objects import check_keys, made, taken_apart

MAX_DEPTH = 100
MAX_BYTES = 64 << 20
MAX_MEMORY_BYTES = 1 << 30
"""How much memory a decoded value may take, about."""
LIVE_KINDS = ("live function", "live coroutine", "live iterator")
"""What stands for values that answer from where they are (`inside.live`)."""
SHARED_KINDS = ("shared", "shared member", "shared class", *LIVE_KINDS)
"""What stands for these and for objects of classes that both processes have."""
_CONTAINER_BYTES = 240
_ITEM_BYTES = 64

_U32 = struct.Struct("<I")
_F64 = struct.Struct("<d")
_C128 = struct.Struct("<dd")
_ARRAYS = {b"q": (int, 8), b"d": (float, 8)}


class UnsupportedValueError(Exception):
    """The value is too deep or too large to cross, or an object that must not."""


class MalformedValueError(Exception):
    """The bytes are no encoded value."""


class Shared(Protocol):
    """Values that have a number in both processes (`inside.shared`, `inside.live`)."""

    def taken_apart(self, value: Any) -> tuple[str, tuple[Any, ...]] | None:
        """Return what stands for such an object; None for another value."""
        ...

    def made(self, kind: str, parts: Any) -> Any:
        """Return the object that it stands for."""
        ...


def encode(
    value: Any, max_bytes: int = MAX_BYTES, objects: bool = True, shared: Shared | None = None
) -> bytes:
    """Encode a value; raises UnsupportedValueError for one that is too large or nested too deep.

    Without `objects`, so does an object of a class that is not Python's own, naming its type, unless it is
    `shared`.
    """
    out = bytearray()
    try:
        _Encoder(max_bytes, objects, shared).encode(value, out, 0)
    except RecursionError:
        raise UnsupportedValueError("nested too deep") from None
    return bytes(out)


class _Encoder:
    def __init__(self, max_bytes: int, objects: bool, shared: Shared | None) -> None:
        self.max_bytes, self.objects, self.shared = max_bytes, objects, shared

    def encode(self, value: Any, out: bytearray, depth: int) -> None:
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
            self.sequence(value, out, depth, b"l" if kind is list else b"t")
        elif kind is dict:
            _open(b"m", len(value), out, depth)
            for key, item in value.items():
                self.encode(key, out, depth + 1)
                self.encode(item, out, depth + 1)
        elif kind is set or kind is frozenset:
            _open(b"e" if kind is set else b"z", len(value), out, depth)
            for item in value:
                self.encode(item, out, depth + 1)
        elif kind is bytes:
            out += b"y"
            out += _U32.pack(len(value))
            out += value
        elif kind is complex:
            out += b"c"
            out += _C128.pack(value.real, value.imag)
        else:
            self.further(value, out, depth)
        if len(out) > self.max_bytes:
            raise UnsupportedValueError(f"the value takes more than {self.max_bytes} bytes")

    def sequence(self, value: Any, out: bytearray, depth: int, tag: bytes) -> None:
        # Long runs of numbers cross as one array: a hundred times quicker than one by one.
        kinds = set(map(type, value)) if len(value) >= 8 else set()
        if kinds == {int} or kinds == {float}:
            code = "q" if int in kinds else "d"
            try:
                packed = array(code, value)
            except OverflowError:
                pass
            else:
                out += (b"L" if tag == b"l" else b"U") + code.encode() + _U32.pack(len(value))
                out += packed.tobytes()
                return
        _open(tag, len(value), out, depth)
        for item in value:
            self.encode(item, out, depth + 1)

    def further(self, value: Any, out: bytearray, depth: int) -> None:
        """Encode a value that is not plain data: a kind, and its parts."""
        try:
            apart = self.shared.taken_apart(value) if self.shared is not None else None
            name, parts = apart or taken_apart(value)
        except UnsupportedValueError:
            raise
        except Exception as error:
            said = f"a value cannot cross: {type(error).__name__}: {error}"
            raise UnsupportedValueError(said[:200]) from None
        if name == "object" and not self.objects:
            raise UnsupportedValueError(f"a value of type {parts[0]} cannot cross"[:200])
        data = name.encode()
        _open(b"x", len(data), out, depth)
        out += data
        self.encode(parts, out, depth + 1)


def _open(tag: bytes, count: int, out: bytearray, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise UnsupportedValueError(f"nested deeper than {MAX_DEPTH}")
    out += tag
    out += _U32.pack(count)


class Memory:
    """How much memory decoded values may still take, about."""

    def __init__(self, left_bytes: int = MAX_MEMORY_BYTES) -> None:
        self.left_bytes = left_bytes


def decode(data: bytes, memory: Memory | None = None, shared: Shared | None = None) -> Any:
    """Decode one value; raises MalformedValueError unless `data` is exactly one well-formed value."""
    try:
        value, end = _Decoder(data, memory or Memory(), shared).decode(0, 0)
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError, TypeError, RecursionError) as error:
        raise MalformedValueError(f"malformed value: {type(error).__name__}") from None
    if end != len(data):
        raise MalformedValueError("malformed value: trailing bytes")
    return value


class _Decoder:
    def __init__(self, data: bytes, memory: Memory, shared: Shared | None) -> None:
        self.data = data
        self.memory = memory
        self.shared = shared

    def decode(self, at: int, depth: int) -> tuple[Any, int]:
        data = self.data
        tag = data[at : at + 1]
        at += 1
        if tag == b"i":
            return self.integer(at + 1, data[at])
        if tag == b"s" or tag == b"y":
            chunk, end = self.chunk(at)
            return (chunk.decode("utf-8", "surrogatepass") if tag == b"s" else chunk), end
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
            return self.integer(at + 4, size)
        if tag == b"L" or tag == b"U":
            return self.array(at, tag)
        if tag in (b"l", b"t", b"m", b"e", b"z"):
            return self.container(at, depth, tag)
        if tag == b"x":
            return self.further(at, depth)
        raise MalformedValueError("malformed value: unknown tag")

    def take(self, size: int) -> None:
        """Count memory that is about to be used."""
        self.memory.left_bytes -= size
        if self.memory.left_bytes < 0:
            raise MalformedValueError("malformed value: it would take too much memory")

    def chunk(self, at: int) -> tuple[bytes, int]:
        (size,) = _U32.unpack_from(self.data, at)
        at += 4
        end = at + size
        if end > len(self.data):
            raise MalformedValueError("malformed value: a length reaches past the end")
        self.take(size)
        return bytes(self.data[at:end]), end

    def integer(self, at: int, size: int) -> tuple[int, int]:
        end = at + size
        if end > len(self.data):
            raise MalformedValueError("malformed value: a length reaches past the end")
        return int.from_bytes(self.data[at:end], "little", signed=True), end

    def array(self, at: int, tag: bytes) -> tuple[Any, int]:
        code = self.data[at : at + 1]
        if code not in _ARRAYS:
            raise MalformedValueError("malformed value: unknown array type")
        (count,) = _U32.unpack_from(self.data, at + 1)
        at += 5
        end = at + count * 8
        if end > len(self.data):
            raise MalformedValueError("malformed value: a length reaches past the end")
        self.take(count * 48)
        numbers = array(code.decode())
        numbers.frombytes(self.data[at:end])
        return (numbers.tolist() if tag == b"L" else tuple(numbers)), end

    def container(self, at: int, depth: int, tag: bytes) -> tuple[Any, int]:
        if depth >= MAX_DEPTH:
            raise MalformedValueError("malformed value: nested too deep")
        (count,) = _U32.unpack_from(self.data, at)
        at += 4
        n_items = count * 2 if tag == b"m" else count
        if n_items > len(self.data) - at:  # an element takes a byte at least
            raise MalformedValueError("malformed value: a count reaches past the end")
        self.take(_CONTAINER_BYTES + _ITEM_BYTES * n_items)
        items = []
        for _ in range(n_items):
            item, at = self.decode(at, depth + 1)
            items.append(item)
        if tag == b"l":
            return items, at
        if tag == b"t":
            return tuple(items), at
        try:
            check_keys(items[::2] if tag == b"m" else items)
        except ValueError as error:
            raise MalformedValueError(f"malformed value: {error}") from None
        if tag == b"m":
            return dict(zip(items[::2], items[1::2], strict=True)), at
        return (set(items) if tag == b"e" else frozenset(items)), at

    def further(self, at: int, depth: int) -> tuple[Any, int]:
        if depth >= MAX_DEPTH:
            raise MalformedValueError("malformed value: nested too deep")
        name, at = self.chunk(at)
        parts, at = self.decode(at, depth + 1)
        self.take(_CONTAINER_BYTES)
        try:
            kind = name.decode()
            if self.shared is not None and kind in SHARED_KINDS:
                return self.shared.made(kind, parts), at
            return made(kind, parts), at
        except MemoryError:
            raise
        except Exception as error:
            said = f"malformed value: {type(error).__name__}: {error}"
            raise MalformedValueError(said[:200]) from None
