"""The published files of LiveCodeBench, read row by row: their hidden tests alone take gigabytes.

A row's hidden tests are a JSON list, or one that was pickled as a string, compressed and put into base64. A
pickle can run code when it is loaded, so none is: its opcodes are read, and all but one string is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError

MOST_BYTES = 512 << 20
"""Of the hidden tests of one problem, unpacked."""
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_AROUND = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


@dataclass(frozen=True, slots=True)
class Tests:
    """All tests of a problem, public ones first."""

    inputs: tuple[str, ...]
    """What is read from stdin, or one JSON value a line: the arguments."""
    outputs: tuple[str, ...]
    """What must be written to stdout, or a JSON value that must be returned."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row of a file and the byte that it begins at; raises DataError for a row of another form."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield offset, _row(line, f"{path}: line {number}")
            offset += len(line)


def tests_at(path: Path, offset: int) -> Tests:
    """Return the tests of the row that begins at a byte; raises DataError where they cannot be read."""
    with path.open("rb") as file:
        file.seek(offset)
        row = _row(file.readline(), f"{path}: byte {offset}")
    where = f"{path}: problem {row['question_id']}"
    try:
        tests = [*json.loads(row["public_test_cases"]), *_hidden(row["private_test_cases"])]
        return Tests(
            tuple(str(test["input"]) for test in tests), tuple(str(test["output"]) for test in tests)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: its tests cannot be read ({error})") from error


_TEXTS = (
    *("question_id", "question_title", "question_content", "platform", "contest_date", "difficulty"),
    *("starter_code", "public_test_cases", "private_test_cases", "metadata"),
)


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict) or (lacks := [n for n in _TEXTS if not isinstance(row.get(n), str)]):
        lacks = lacks if isinstance(row, dict) else ["an object"]
        raise DataError(f"{where}: not a row of LiveCodeBench: {', '.join(lacks)} as text is expected")
    return row


def _hidden(text: str) -> list[Any]:
    """Return hidden tests in either form; raises ValueError for any other."""
    if not text.lstrip().startswith("["):
        text = _pickled_string(_unpacked(text))
    tests = json.loads(text)
    if not isinstance(tests, list):
        raise ValueError("a list of tests is expected")
    return tests


def _unpacked(text: str) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(base64.b64decode(text), MOST_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"neither JSON nor compressed: {error}") from error
    if unpacking.unconsumed_tail:
        raise ValueError(f"over {MOST_BYTES >> 20} MiB unpacked")
    return data


def _pickled_string(data: bytes) -> str:
    """Return the string of a pickle that holds one string and nothing else, without loading it."""
    found: list[str] = []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _STRINGS:
            found.append(str(argument))
        elif opcode.name not in _AROUND:
            raise ValueError(f"its pickle holds {opcode.name}; one string is expected")
    if len(found) != 1:
        raise ValueError(f"its pickle holds {len(found)} strings; one is expected")
    return found[0]
