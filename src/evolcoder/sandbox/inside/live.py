"""Values that stay where they are and answer from there: functions, coroutines, the rest of an iterator.

What crosses is a number. Whoever has it calls it as a function of the program is called, and gets data back;
so such a value decides no equality, and has no methods but Python's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import chain
from time import monotonic
from types import BuiltinFunctionType, CoroutineType, FunctionType, MethodType
from typing import Any

from evolcoder.sandbox.codec import LIVE_KINDS
from evolcoder.sandbox.objects import filled_apart

_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, partial, type(lru_cache(abs)))
_MOST_ITEMS, _MOMENT_S = 1 << 16, 0.02
"""How much of an iterator is taken at once: the items of a moment, which are all of most."""
_WITH_ITEMS = (int, float, complex, str, bytes, list, tuple, set, frozenset, dict)
"""What crosses as data, whatever methods it has."""


class ProgramsValues:
    """The values of a program's that the tests have a number of."""

    def __init__(self, allowed: dict[Any, Callable[..., Any]]) -> None:
        """`allowed` is what the tests may call, by name and by number."""
        self._allowed = allowed
        self._number_of: dict[int, int] = {}
        self._values: list[Any] = []

    def taken_apart(self, value: Any) -> tuple[str, tuple[Any, ...]] | None:
        """Return what stands for a value that stays here; None for any other."""
        kind = type(value)
        if kind in _FUNCTIONS:
            name = getattr(value, "__name__", "")
            return "live function", (name if type(name) is str else "", self._number(value, value))
        if kind is CoroutineType:
            return "live coroutine", (self._number(value, partial(_run, value)),)
        if isinstance(value, _WITH_ITEMS):
            return filled_apart(value)
        if not hasattr(kind, "__next__") or _has_fields(kind):
            return None
        taken = _Taken(value)
        items, is_over = taken.more()
        name = "generator" if kind.__name__ == "generator" else "iterator"
        if is_over:
            return name, (items,)
        return "live iterator", (name == "generator", items, self._number(taken, taken.more))

    def made(self, kind: str, parts: Any) -> Any:
        """Return the value that the tests had from here."""
        return self._values[parts[-1]]

    def _number(self, value: Any, call: Callable[..., Any]) -> int:
        if id(value) not in self._number_of:
            self._number_of[id(value)] = len(self._values)
            self._values.append(value)
        number = self._number_of[id(value)]
        self._allowed[number] = call
        return number


class _Taken:
    """An iterator, taken some items at a time."""

    def __init__(self, iterator: Any) -> None:
        self._next = iterator.__next__
        self._error: Exception | None = None

    def more(self) -> tuple[list[Any], bool]:
        """Return further items, and whether they are the last; raises what the iterator raised after them."""
        if self._error is not None:
            raise self._error
        items: list[Any] = []
        until = monotonic() + _MOMENT_S
        while len(items) < _MOST_ITEMS:
            try:
                items.append(self._next())
            except StopIteration:
                return items, True
            except Exception as error:
                self._error = error
                break
            if monotonic() > until:
                break
        return items, False


def _run(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _has_fields(kind: type) -> bool:
    return type(getattr(kind, "__dataclass_fields__", None)) is dict


class TestsValues:
    """A program's values as tests have them: functions, coroutines and iterators that ask the program."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """`call(number, *arguments, **keywords)` asks the program."""
        self._call = call
        self._functions: dict[int, Callable[..., Any]] = {}
        self._number_of: dict[int, int] = {}

    def taken_apart(self, value: Any) -> tuple[str, tuple[Any, ...]] | None:
        """Return what stands for a function of the program's; None for any other value."""
        number = self._number_of.get(id(value))
        return filled_apart(value) if number is None else ("live function", (value.__name__, number))

    def made(self, kind: str, parts: Any) -> Any:
        """Return what a number stands for; raises ValueError on nonsense."""
        number = parts[-1]
        if kind not in LIVE_KINDS or type(number) is not int:
            raise ValueError("no number of a value")
        if kind == "live function":
            name, number = parts
            if number not in self._functions:
                self._functions[number] = self._function(name, number)
                self._number_of[id(self._functions[number])] = number
            return self._functions[number]
        if kind == "live coroutine":
            return self._coroutine(number)
        is_generator, items, number = parts
        if type(items) is not list:
            raise ValueError("no items")
        generator = self._items(items, number)
        return generator if is_generator else chain(generator)

    def _function(self, name: str, number: int) -> Callable[..., Any]:
        def function(*arguments: Any, **keywords: Any) -> Any:
            return self._call(number, *arguments, **keywords)

        function.__name__ = function.__qualname__ = name
        return function

    async def _coroutine(self, number: int) -> Any:
        return self._call(number)

    def _items(self, items: list[Any], number: int) -> Any:
        is_over = False
        while True:
            yield from items
            if is_over:
                return
            answer = self._call(number)
            if type(answer) is not tuple or len(answer) != 2 or type(answer[0]) is not list:
                raise TypeError("an iterator gave no items")
            items, is_over = answer
