"""Plain data crosses whole; nothing else crosses, and no bytes make the decoder stumble."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.sandbox.codec import MalformedValueError, UnsupportedValueError, decode, encode

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
    pass


@pytest.mark.parametrize(
    "value", [Sneaky(3), object(), [Sneaky(3)] * 20, {1: print}, range(3), (x for x in [])]
)
def test_other_types_are_refused_by_name(value: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="not plain data"):
        encode(value)


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
