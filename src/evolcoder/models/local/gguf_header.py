"""The key-value header of a GGUF file without its long arrays, and the two small tensors of its positions.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from evolcoder.errors import ModelError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_TEXT = 16 << 20
"""Bytes; a length beyond it is none."""
_POSITION_FACTORS = "rope_freqs.weight"
_OTHER_POSITION_FACTORS = ("rope_factors_long.weight", "rope_factors_short.weight")
_MOST_FACTORS = 1 << 16


def read_gguf_header(path: Path) -> dict[str, str | int | float | bool]:
    """Return the scalar and text entries of a header, no arrays; raises ModelError for what is no GGUF."""
    with _naming_failures(path), path.open("rb") as f:
        return _header(f, path)[0]


def read_position_factors(path: Path) -> tuple[float, ...]:
    """Return what a file divides the frequencies of positions by, one a pair of dimensions; else nothing.

    Raises ModelError where they are not read here, or the file ends before them.
    """
    with _naming_failures(path), path.open("rb") as f:
        entries, n_tensors = _header(f, path)
        alignment = int(entries.get("general.alignment", 32))
        found: tuple[int, int, int] | None = None
        for _ in range(n_tensors):
            name = _text(f)
            (n_dimensions,) = struct.unpack("<I", f.read(4))
            sizes = struct.unpack(f"<{n_dimensions}Q", f.read(8 * n_dimensions))
            kind, offset = struct.unpack("<IQ", f.read(12))
            if name in _OTHER_POSITION_FACTORS:
                raise ModelError(
                    f"{path}: its positions are scaled by the tensor {name}, which is not read from GGUF "
                    "here; the folder that it was made of is expected"
                )
            if name == _POSITION_FACTORS:
                found = (math.prod(sizes), kind, offset)
        if found is None:
            return ()
        count, kind, offset = found
        if kind != 0 or count > _MOST_FACTORS:
            raise ModelError(f"{path}: {_POSITION_FACTORS}: a row of 32-bit floats is expected")
        f.seek(-(-f.tell() // alignment) * alignment + offset)
        return struct.unpack(f"<{count}f", f.read(4 * count))


@contextmanager
def _naming_failures(path: Path) -> Iterator[None]:
    """Raise ModelError that names the file, where it cannot be read or ends too early."""
    try:
        yield
    except (struct.error, EOFError, OverflowError, MemoryError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: the GGUF header is cut short; copy or download the file again") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def _header(f: BinaryIO, path: Path) -> tuple[dict[str, str | int | float | bool], int]:
    """Return the scalar and text entries, and how many tensors follow."""
    if f.read(4) != b"GGUF":
        raise ModelError(f"{path}: not a GGUF file (it does not start with 'GGUF')")
    version, n_tensors, n_entries = struct.unpack("<IQQ", f.read(20))
    if version not in (2, 3):
        raise ModelError(f"{path}: GGUF version 2 or 3 is expected, found {version}")
    entries: dict[str, str | int | float | bool] = {}
    for _ in range(n_entries):
        key = _text(f)
        (kind,) = struct.unpack("<I", f.read(4))
        if kind == _ARRAY:
            _skip_array(f)
        elif kind == _STRING:
            entries[key] = _text(f)
        elif kind in _SCALARS:
            code = "<" + _SCALARS[kind]
            (entries[key],) = struct.unpack(code, f.read(struct.calcsize(code)))
        else:
            raise ModelError(f"{path}: its GGUF header holds a value of the unknown type {kind}")
    return entries, n_tensors


def _text(f: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", f.read(8))
    data = f.read(min(length, _LONGEST_TEXT))
    if len(data) < length:
        raise EOFError
    return data.decode("utf-8", "replace")


def _skip_array(f: BinaryIO) -> None:
    kind, length = struct.unpack("<IQ", f.read(12))
    if kind == _STRING:
        for _ in range(length):
            (size,) = struct.unpack("<Q", f.read(8))
            f.seek(size, 1)
    elif kind == _ARRAY:
        for _ in range(length):
            _skip_array(f)
    else:
        f.seek(struct.calcsize("<" + _SCALARS[kind]) * length, 1)
