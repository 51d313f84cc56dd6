"""Values cross whole, what a program defines does not, and no bytes make the decoder stumble."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import itertools
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Generator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.sandbox.codec import MalformedValueError, Memory, UnsupportedValueError, decode, encode

HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
PLAIN = st.recursive(
    HASHABLE | st.complex_numbers(allow_nan=False) | st.lists(st.integers(), min_size=8) | st.sets(HASHABLE),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(HASHABLE, inner, max_size=4),
    max_leaves=20,
)


def shape(value: Any) -> Any:
    """A value with the type of every part, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return dict, [(shape(k), shape(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), value
    return type(value), value


@given(PLAIN)
def test_plain_data_crosses_whole(value: Any) -> None:
    assert shape(decode(encode(value))) == shape(value)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_fail_in_another_way(data: bytes) -> None:
    try:
        value = decode(data)
    except MalformedValueError:
        return
    assert shape(decode(encode(value))) == shape(value) or value != value


@given(PLAIN, st.data())
def test_a_damaged_value_is_refused_or_is_another_value(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedValueError):
        decode(bytes(encoded))


class Sneaky(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: int

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize("value", [object(), {1: print}, [Point(1, 2)]])
def test_objects_that_must_not_cross_are_refused_by_name(value: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="cannot cross"):
        encode(value, objects=False)


LIBRARY_VALUES = [
    Counter("abca"),
    OrderedDict(b=1, a=2),
    defaultdict(None, {1: [2]}),
    deque([1, 2], 5),
    {1: 2}.keys(),
    {1: 2}.items(),
    range(5, 1, -2),
    bytearray(b"ab"),
    Decimal("-1.50"),
    Decimal("NaN"),
    Fraction(-3, 7),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    datetime.date(1, 1, 1),
    datetime.time(23, 59),
    datetime.timedelta(-1, 5, 6),
    np.float32(1.5),
    np.array([[1, 2], [3, 4]]),
    np.array(["a", "bc"]),
    np.zeros((0, 3)),
    int,
    type(None),
    ...,
]


@pytest.mark.parametrize("value", LIBRARY_VALUES, ids=repr)
def test_values_of_the_library_cross_as_what_they_are(value: Any) -> None:
    (crossed,) = decode(encode([value]))
    assert type(crossed) is type(value)
    assert np.array_equal(crossed, value) if isinstance(value, np.ndarray) else repr(crossed) == repr(value)


def test_what_a_program_defines_decides_no_equality() -> None:
    pair = namedtuple("pair", "a b")
    sneaky, colour, again, point, named, thing = decode(
        encode([Sneaky(3), Colour.RED, Colour.RED, Point(1, 2), pair(1, [2]), object()])
    )
    assert (sneaky == 3, sneaky == 4, type(sneaky) is int) == (True, False, False)
    assert colour == again and colour != 1 and (colour.name, colour.value) == ("RED", 1)
    assert point != 5 and (point.x, point.y) == (1, 2)
    assert named == (1, [2]) and named.b == [2]
    assert thing == thing and thing != 0 and not isinstance(thing, int)


def test_numbers_of_another_library_cross_as_the_numbers_that_they_are() -> None:
    sympy = pytest.importorskip("sympy")
    whole, part, root = decode(encode([sympy.Integer(55), sympy.Rational(3, 4), sympy.sqrt(2)]))
    assert (whole == 55, part == Fraction(3, 4), part == 0.75, root == 2) == (True, True, True, False)


def test_a_tensor_of_no_dimension_is_a_number_and_others_equal_no_list() -> None:
    torch = pytest.importorskip("torch")
    numbers = [torch.tensor(3), torch.tensor(0.1), torch.tensor(True), torch.tensor(2.5, requires_grad=True)]
    numbers.append(torch.tensor(2.5, dtype=torch.bfloat16))
    assert decode(encode(numbers)) == [3, 0.1, True, 2.5, 2.5]
    assert decode(encode(torch.tensor(4))) != 3
    assert decode(encode(torch.tensor([3]))) != [3]


def test_numpy_finds_no_array_in_an_object_of_a_program() -> None:
    fields = ["__array_interface__", "a"]
    described = {"shape": (1,), "typestr": "<f8", "data": (4096, False), "version": 3}
    data_class = dataclasses.make_dataclass("A", fields)
    named = type("T", (tuple,), {"_fields": tuple(fields)})
    for value in decode(encode([data_class(described, 1), named((described, 1))])):
        assert not hasattr(value, "__array_interface__")


def test_iterators_cross_as_iterators_of_their_items() -> None:
    generated, mapped, endless = decode(encode([(i for i in "ab"), map(abs, [-1]), itertools.count()]))
    assert isinstance(generated, Generator) and generated != ["a", "b"] and list(generated) == ["a", "b"]
    assert mapped != [1] and list(mapped) == [1]
    with pytest.raises(TypeError):
        list(endless)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("decimal.Decimal", ("1e1000000000",)),
        ("fractions.Fraction", ("1e1000000000", 1)),
        ("fractions.Fraction", (1, 0)),
        ("fractions.Fraction", (1 << 100_000, 1)),
        ("numpy", (True, "(100000000,)i8", (1,), b"")),
        ("numpy", (True, "S100000000", (2,), b"ab")),
        ("numpy", (True, "i8", (10**9, 10**9), b"")),
        ("numpy", (True, "O", (1,), bytes(8))),
        ("builtins.bytearray", (10**9,)),
        ("builtins.range", (0, 5, 0)),
        ("named tuple", (("a",), ())),
        ("datetime.date", ("x" * 1000,)),
        ("name", ("print",)),
        ("object", ("A", {1: 2})),
        ("object", ("A", {"__array_interface__": {}})),
        ("named tuple", (("__array_struct__",), (1,))),
        ("numpy", (True, "|b1", (3,), b"\0\2\1")),
        ("no such kind", ()),
    ],
)
def test_parts_that_no_value_has_are_refused(kind: str, parts: tuple[Any, ...]) -> None:
    name = kind.encode()
    data = b"x" + len(name).to_bytes(4, "little") + name + encode(parts)
    with pytest.raises(MalformedValueError):
        decode(data)


def test_a_value_that_takes_much_more_memory_than_bytes_is_refused() -> None:
    n = 1_000_000
    with pytest.raises(MalformedValueError, match="memory"):
        decode(b"l" + n.to_bytes(4, "little") + b"e\0\0\0\0" * n, Memory(64 << 20))


def test_depth_and_size_are_bounded() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(UnsupportedValueError, match="nested"):
        encode(deep)
    wide: list[Any] = ["x" * 1000]
    for _ in range(40):
        wide = [wide, wide]
    with pytest.raises(UnsupportedValueError, match="bytes"):
        encode(wide, 1 << 20)


def test_keys_made_to_collide_are_refused() -> None:
    colliding = encode({i * ((1 << 61) - 1) for i in range(1000)})
    with pytest.raises(MalformedValueError, match="hash"):
        decode(colliding)
