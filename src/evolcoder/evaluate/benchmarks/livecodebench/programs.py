"""Programs as LiveCodeBench runs them, and how their answers are compared.

One process answers all tests of a problem, one call a test: it gets the inputs alone, and what it answers is
compared in another process. As published, a program finds much of the standard library imported, a program
that reads stdin is executed anew for each test, and a `Solution` is made once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from evolcoder.sandbox.protocol import CallValue

ANSWER = "answer_of_test"
"""The function of a wrapped program that is called with the input of each test."""
_NAMED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
_GIVEN = (
    *(f"from {name} import *" for name in (*_NAMED, "builtins", "typing")),
    *(f"import {name}" for name in _NAMED),
    "sys.setrecursionlimit(50000)",
)
"""What the published harness puts before a program."""

_FUNCTIONAL = f"""
import types
module = types.ModuleType("solution")
exec(GIVEN, module.__dict__)
exec(compile(SOURCE, "solution.py", "exec"), module.__dict__)
{ANSWER} = getattr(module.Solution() if "class Solution" in SOURCE else module, NAME)
"""

_STDIN = f"""
import os, sys, tempfile
CODE = compile(SOURCE, "main.py", "exec")

def {ANSWER}(text):
    for number in (0, 1):  # a program may have closed them
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
        given.write(text.encode())
        given.seek(0)
        os.dup2(given.fileno(), 0)
        os.dup2(written.fileno(), 1)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        names = {{"__name__": "__main__"}}
        exec(GIVEN, names)
        try:
            exec(CODE, names)
        except SystemExit:
            pass
        sys.stdout.flush()
        written.seek(0)
        return written.read().decode("utf-8", "replace")
"""
_FORMAT = "SOURCE = {source!r}\nNAME = {name!r}\nGIVEN = {given!r}\n{wrapper}"


def wrapped(program: str, function: str) -> str:
    """Return a program whose `ANSWER` takes a test's input; `function` is "" for one that reads stdin."""
    wrapper = _FUNCTIONAL if function else _STDIN
    return _FORMAT.format(source=program, name=function, given="\n".join(_GIVEN), wrapper=wrapper)


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """Compares the answers of a program with the outputs of its tests."""

    outputs: tuple[str, ...]
    functional: bool

    def __call__(self, number: int, value: CallValue) -> str | None:
        """Return what is wrong with the answer to a test, None for a right one."""
        if not value.ok:
            return value.error
        wanted = self.outputs[number]
        if self.functional:
            right = _same_value(value.value, wanted)
        else:
            right = isinstance(value.value, str) and _same_lines(value.value, wanted)
        return None if right else f"expected {wanted.strip()[:120]!r}, got {str(value.value).strip()[:120]!r}"


def _same_value(value: object, wanted: str) -> bool:
    """As published: `==`, with a tuple taken for a list."""
    return bool((list(value) if isinstance(value, tuple) else value) == json.loads(wanted))


def _same_lines(written: str, wanted: str) -> bool:
    """As published: line by line without outer blanks, equal as text or number by number as decimals."""
    ours, theirs = _lines(written), _lines(wanted)
    return len(ours) == len(theirs) and all(
        a == b or _same_numbers(a, b) for a, b in zip(ours, theirs, strict=True)
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(ours: str, theirs: str) -> bool:
    try:
        return [Decimal(part) for part in ours.split()] == [Decimal(part) for part in theirs.split()]
    except InvalidOperation:
        return False
