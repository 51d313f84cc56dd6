"""Objects of the tests' own classes, which the tests' process and the candidate's both have.

Each such object has a number that both know it by, so that what is linked stays linked and what is the same
stays the same. Its attributes cross as values do; methods never. What the candidate says of an object changes
attributes only, and none that its class has as a method or property: it decides no equality.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from evolcoder.sandbox import codec
from evolcoder.sandbox.objects import is_attribute

Packed = tuple[list[int], list[tuple[int, bytes]], list[int], bytes]
"""Classes of the objects that are new, what has changed of objects, by their number, the numbers of all that
a call's arguments lead to, and a value."""
_OBJECT_BYTES = 400


class SharedObjects:
    """The objects that crossed between two processes, seen from one of them."""

    def __init__(self, objects_cross: bool, live: codec.Shared) -> None:
        """`objects_cross` in the candidate: other objects do, as such that equal only themselves.

        No class crosses from there, whose properties and methods all are true. `live` has further values.
        """
        self._live = live
        self._objects_cross = objects_cross
        self._kinds: dict[int, type] = {}
        self._number_of_kind: dict[type, int] = {}
        self._objects: list[Any] = []  # kept, so that no other object gets the id of one of them
        self._number_of: dict[int, int] = {}
        self._known_there: dict[int, bytes] = {}
        self._met: list[int] = []
        self._is_met: set[int] = set()
        self._reached: list[int] = []
        self.kinds_met: set[int] = set()
        """Classes of which something is in what was packed last."""

    def learn(self, number: int, kind: Any) -> None:
        """Have objects of a class cross; of one that Python makes in another way they cross as others do."""
        try:
            if not hasattr(kind, "_member_map_"):
                object.__new__(kind)
        except TypeError:
            return
        self._kinds[number] = kind
        self._number_of_kind[kind] = number

    def taken_apart(self, value: Any) -> tuple[str, tuple[Any, ...]] | None:
        """Return what stands for an object of these classes, or for one of them; None for anything else."""
        kind = type(value)
        if kind in self._number_of_kind:
            self.kinds_met.add(self._number_of_kind[kind])
            if hasattr(kind, "_member_map_"):
                member = self._number_of_kind[kind], value._name_
                return ("shared member", member) if member[1] in kind._member_map_ else None
            if id(value) not in self._number_of:
                self._keep(value)
            number = self._number_of[id(value)]
            self._meet(number)
            return "shared", (number,)
        if not self._objects_cross and isinstance(value, type) and value in self._number_of_kind:
            self.kinds_met.add(self._number_of_kind[value])
            return "shared class", (self._number_of_kind[value],)
        return self._live.taken_apart(value)

    def made(self, kind: str, parts: Any) -> Any:
        """Return what these parts stand for; raises an Exception on nonsense."""
        if kind in codec.LIVE_KINDS:
            return self._live.made(kind, parts)
        if kind == "shared member":
            return self._kinds[parts[0]]._member_map_[parts[1]]  # type: ignore[attr-defined]
        if kind == "shared class" and not self._objects_cross:
            raise ValueError("a class is no value of the candidate's")
        (number,) = parts
        if type(number) is not int or number < 0:
            raise ValueError("no number of an object")
        return self._objects[number] if kind == "shared" else self._kinds[number]

    def packed(self, value: Any) -> Packed:
        """Return a value with all that has changed of the objects in it.

        A call may also have changed what its arguments no longer lead to. Raises UnsupportedValueError for
        what cannot cross.
        """
        first = len(self._objects)
        self._met, self._is_met, self.kinds_met = [], set(), set()
        main = self._encoded(value)
        size, changed = len(main), []
        for number in self._met_and_reached():
            state = self._encoded(_state(self._objects[number]))
            if state != self._known_there.get(number):
                self._known_there[number] = state
                changed.append((number, state))
                size += len(state)
                if size > codec.MAX_BYTES:
                    raise codec.UnsupportedValueError(f"takes more than {codec.MAX_BYTES} bytes")
        changed.reverse()  # what an object holds before itself: a set wants its members' hashes
        kinds = [self._number_of_kind[type(value)] for value in self._objects[first:]]
        return kinds, changed, [] if self._objects_cross else self._met, main

    def unpacked(self, packed: Any) -> Any:
        """Return the value that the other process packed; raises MalformedValueError on nonsense."""
        memory = codec.Memory()
        try:
            kinds, changed, reached, main = packed
            self._reached = reached if self._objects_cross else []
            memory.left_bytes -= len(kinds) * _OBJECT_BYTES
            if memory.left_bytes < 0:
                raise ValueError("they would take too much memory")
            for number in kinds:
                self._keep(object.__new__(self._kinds[number]))
            for number, state in changed:
                _fill(self.made("shared", (number,)), codec.decode(state, memory, self))
                self._known_there[number] = state
            return codec.decode(main, memory, self)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise codec.MalformedValueError(f"malformed objects: {error}"[:200]) from None

    def _met_and_reached(self) -> Iterator[int]:
        yield from self._met  # more are met on the way
        for number in self._reached:
            first = len(self._met)
            self._meet(number)
            yield from islice(self._met, first, None)

    def _meet(self, number: int) -> None:
        if number not in self._is_met:
            self._is_met.add(number)
            self._met.append(number)

    def _keep(self, value: Any) -> None:
        self._number_of[id(value)] = len(self._objects)
        self._objects.append(value)

    def _encoded(self, value: Any) -> bytes:
        return codec.encode(value, objects=self._objects_cross, shared=self)


@lru_cache(maxsize=64)
def _slots(kind: type) -> dict[str, Any]:
    return {
        name: member
        for base in kind.__mro__
        for name, member in base.__dict__.items()
        if type(member) is types.MemberDescriptorType
    }


def _state(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots among them."""
    kind: Any = type(value)
    held = getattr(value, "__dict__", {}).items()
    state = {name: item for name, item in held if is_attribute(name) and not _computes(kind, name)}
    for name, member in _slots(kind).items():
        try:
            state[name] = member.__get__(value)
        except AttributeError:  # not set
            pass
    return state


def _fill(value: Any, state: Any) -> None:
    """Give an object these attributes alone; the lists, dicts and sets that it holds stay the same ones."""
    kind: Any = type(value)
    slots = _slots(kind)
    before = _state(value)
    for name, item in state.items():
        if not is_attribute(name, item) or (name not in slots and _computes(kind, name)):
            raise ValueError("an attribute that no object has")
        had = before.pop(name, None)
        if type(had) is type(item) and type(item) in (list, dict, set):
            item = _renewed(had, item)
        if name in slots:
            slots[name].__set__(value, item)
        else:
            value.__dict__[name] = item
    for name in before:
        if name in slots:
            slots[name].__delete__(value)
        else:
            del value.__dict__[name]


@lru_cache(maxsize=256)
def _computes(kind: type, name: str) -> bool:
    """Whether a class has a method or a property of this name."""
    found = [base.__dict__[name] for base in kind.__mro__ if name in base.__dict__]
    return any(callable(item) or hasattr(type(item), "__get__") for item in found)


def _renewed(had: Any, item: Any) -> Any:
    had.clear()
    if type(had) is list:
        had.extend(item)
    else:
        had.update(item)
    return had
