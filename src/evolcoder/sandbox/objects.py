"""Values beyond plain data: taken apart in an untrusted process, and made again on the other side.

What is made is a value of a type of Python, the standard library or numpy, or a subclass of one that adds
nothing; so nothing that a program defines decides an equality. An object of a program's own class becomes
one that equals only itself (`ProgramObject`), with the attributes of a dataclass or an Enum member to read.
Standard library only: the same source runs inside the container.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from types import FunctionType, MappingProxyType
from typing import Any

Parts = tuple[Any, ...]
ITERATOR_ITEMS = 1 << 20
"""An iterator with more items than this crosses as an object."""
_NAME_CHARACTERS = 200
_DECIMAL_CHARACTERS = 20_000
_DECIMAL_EXPONENT = 20_000
_FRACTION_BITS = 1 << 16
_ARRAY_TYPE = re.compile(r"[<>|=]?[biufcSU]\d{1,6}")
_ARRAY_DIMENSIONS = 32
_FULL_SIZE = {"f": 8, "c": 16}
"""Bytes of Python's own numbers. numpy compares in the size of its own value, so that an infinity of 2 bytes
equals every number over 65504; it is made as one of full size, which equals only itself."""
_KEYS_UNCHECKED = 32
_COLLISIONS = 16
"""Larger sets and dicts are refused where this many keys more have another's hash (a quadratic attack)."""
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range)
}
_BY_NAME: dict[str, Any] = {**_TYPES, "object": object, "type": type, "NoneType": type(None), "...": ...}
_NAME_OF = {id(value): name for name, value in _BY_NAME.items()}


class ProgramObject:
    """Stands for an object of a program's own class.

    It equals itself, and, for a dataclass or an Enum member, another one of the same class and attributes.
    """

    def __init__(self, class_name: str, attributes: dict[str, Any] | None = None) -> None:
        self.__dict__.update(attributes or {})
        self.__dict__["_class_name"] = class_name
        self.__dict__["_attributes"] = attributes

    def __eq__(self, other: object) -> bool:
        if type(other) is not ProgramObject or self.__dict__["_attributes"] is None:
            return self is other
        return bool(self.__dict__ == other.__dict__)

    def __hash__(self) -> int:
        return hash(self.__dict__["_class_name"])

    def __repr__(self) -> str:
        return f"<{self.__dict__['_class_name']}>"


class TupleSubclass(tuple[Any, ...]):
    """A tuple that is not of exactly this type; a named tuple's fields can be read."""

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("_fields", ())
        if name in fields:
            return self[fields.index(name)]
        raise AttributeError(name)


_SUBCLASSES: dict[type, type] = {tuple: TupleSubclass} | {
    kind: type(f"{kind.__name__.capitalize()}Subclass", (kind,), {"__module__": __name__})
    for kind in (int, float, complex, str, bytes, list, set, frozenset, dict)
}
"""Of values that are not of exactly this type: an IntEnum member, say."""
globals().update({kind.__name__: kind for kind in _SUBCLASSES.values()})  # where a pickle looks for them


# -- taken apart --------------------------------------------------------------------------------------------


def taken_apart(value: Any) -> tuple[str, Parts]:
    """Return the kind of a value that is not plain data, and the parts that `made` makes it of again."""
    kind = type(value)
    name = _library_name(kind)
    if id(value) in _NAME_OF and _BY_NAME[_NAME_OF[id(value)]] is value:
        return "name", (_NAME_OF[id(value)],)
    if name in _PARTS:
        return name, _PARTS[name](value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
        is_array = kind is numpy.ndarray
        if value.dtype.kind in "biufcSU" and (is_array or isinstance(value, numpy.generic)):
            return "numpy", (is_array, value.dtype.str, tuple(value.shape), value.tobytes())
        return "object", (_class_name(kind), None)
    for base, take in _BASES:
        if isinstance(value, base):
            if base is tuple and _are_fields(fields := getattr(kind, "_fields", None), take(value)):
                return "named tuple", (fields, take(value))
            return "subclass", (take(value),)
    if (number := _number(value) or _array_of_another(value)) is not None:
        return number
    if (attributes := _attributes(value, kind)) is not None:
        return "object", (_class_name(kind), attributes)
    if hasattr(kind, "__next__"):
        items = _items(value)
        if items is not None:
            return "generator" if kind.__name__ == "generator" else "iterator", (items,)
    return "object", (_class_name(kind), None)


def _number(value: Any) -> tuple[str, Parts] | None:
    """Return how another library's number crosses (sympy's, gmpy2's): as the Python number that it equals."""
    numbers = sys.modules.get("numbers")
    if numbers is None or not isinstance(value, numbers.Rational):
        return None
    if isinstance(value, numbers.Integral):
        return "subclass", (int.__index__(value.__index__()),)
    return "fractions.Fraction", (int(value.numerator), int(value.denominator))


def _array_of_another(value: Any) -> tuple[str, Parts] | None:
    """Return how another library's array crosses: of no dimension as the number of numpy's, torch's as such.

    Another one of more dimensions equals no list, as an object does not.
    """
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not hasattr(value, "__array__"):
        return None
    torch = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(value, torch.Tensor)
    if tuple.__len__(shape) and not is_tensor:
        return None
    import numpy as np

    value = value.detach() if hasattr(value, "detach") else value
    array = np.asarray(value.float() if "bfloat16" in str(value.dtype) else value)
    if array.dtype.kind not in "biufc":
        return None
    if is_tensor and array.shape:
        return "torch.Tensor", (array.dtype.str, array.shape, array.tobytes())
    return "numpy", (False, array.dtype.str, (), array.tobytes())


def _library_name(kind: type) -> str:
    """Name a class of the standard library; "" for one that only calls itself so."""
    module, name = getattr(kind, "__module__", ""), kind.__qualname__
    if type(module) is not str or type(name) is not str:
        return ""
    if kind is not _VIEWS.get(name) and getattr(sys.modules.get(module), name, None) is not kind:
        return ""
    return f"{module}.{name}"


def _class_name(kind: type) -> str:
    return f"{getattr(kind, '__module__', '')}.{kind.__qualname__}"[:_NAME_CHARACTERS]


def _are_fields(fields: Any, items: Any) -> bool:
    return type(fields) is tuple and len(fields) == len(items) and all(map(is_attribute, fields, items))


def is_attribute(name: Any, value: Any = None) -> bool:
    """Whether an object may have a value under a name: a type is callable, and stands for no method."""
    # numpy takes the array that `__array_interface__` of any object describes, an address in memory included.
    return type(name) is str and not name.startswith("__") and not (callable(value) and _is_method(name))


def _is_method(name: str) -> bool:
    """Whether values that cross have a method of a name: who calls it on an answer means that one."""
    from datetime import date, datetime, time, timedelta
    from decimal import Decimal
    from fractions import Fraction

    numpy = sys.modules.get("numpy")
    arrays = () if numpy is None else (numpy.ndarray,)
    further = (Counter, OrderedDict, defaultdict, deque, date, datetime, time, timedelta, Decimal, Fraction)
    return any(hasattr(kind, name) for kind in (*_TYPES.values(), *further, *arrays))


def _attributes(value: Any, kind: type) -> dict[str, Any] | None:
    """Return what can be read of an Enum member or a dataclass instance; None for another object."""
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return {"name": value._name_, "value": value._value_}
    fields = getattr(kind, "__dataclass_fields__", None)
    if type(fields) is not dict:
        return None
    found = {name: getattr(value, name, None) for name in fields if is_attribute(name)}
    return {name: item for name, item in found.items() if is_attribute(name, item)}


def _items(iterator: Any) -> list[Any] | None:
    """Return what is left of an iterator, None for one that fails or goes on for long."""
    try:
        items = list(islice(iterator, ITERATOR_ITEMS + 1))
    except Exception:
        return None
    return items if len(items) <= ITERATOR_ITEMS else None


def _listed(values: Any) -> Parts:
    return (list(values),)


def _pairs(mapping: Any) -> Parts:
    return (list(mapping.items()),)


def _decimal_parts(value: Any) -> Parts:
    _, digits, exponent = value.as_tuple()
    if len(digits) > _DECIMAL_CHARACTERS or (type(exponent) is int and abs(exponent) > _DECIMAL_EXPONENT):
        raise ValueError("a Decimal of so many digits cannot cross")
    return (str(value),)


def filled_apart(value: Any) -> tuple[str, Parts] | None:
    """Return the kind and parts of a defaultdict that fills its gaps with what a type of Python's makes."""
    factory = _factory(value) if type(value) is defaultdict else None
    return None if factory is None else ("filled defaultdict", (list(value.items()), factory))


def _factory(value: Any) -> Any:
    make = value.default_factory
    if type(make) is FunctionType and make.__name__ == "<lambda>":
        made_once = make()
        make = type(made_once) if type(made_once) in _EMPTY and made_once == type(made_once)() else None
    return make if make in _EMPTY else None


_EMPTY = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
_VIEWS: dict[str, type] = {
    kind.__name__: kind for kind in map(type, ({}.keys(), {}.values(), {}.items(), MappingProxyType({})))
}
_PARTS: dict[str, Callable[[Any], Parts]] = {
    "builtins.range": lambda value: (value.start, value.stop, value.step),
    "builtins.bytearray": lambda value: (bytes(value),),
    **dict.fromkeys(("builtins.dict_keys", "builtins.dict_values", "builtins.dict_items"), _listed),
    **dict.fromkeys(("collections.Counter", "collections.OrderedDict", "collections.defaultdict"), _pairs),
    "collections.UserDict": _pairs,
    "collections.deque": lambda value: (list(value), value.maxlen),
    "collections.UserList": _listed,
    "collections.ChainMap": lambda value: (list(map(dict, value.maps)),),
    "builtins.mappingproxy": _pairs,
    "builtins.memoryview": lambda value: (bytes(value),),
    "builtins.slice": lambda value: (value.start, value.stop, value.step),
    "array.array": lambda value: (value.typecode, value.tolist()),
    "decimal.Decimal": _decimal_parts,
    "fractions.Fraction": lambda value: (value.numerator, value.denominator),
    "datetime.datetime": lambda value: (value.isoformat(), value.fold),
    "datetime.date": lambda value: (value.isoformat(),),
    "datetime.time": lambda value: (value.isoformat(), value.fold),
    "datetime.timedelta": lambda value: (value.days, value.seconds, value.microseconds),
    "datetime.timezone": lambda value: (value.utcoffset(None),),
    "uuid.UUID": lambda value: (value.int,),
    **dict.fromkeys(("pathlib.PosixPath", "pathlib.PurePosixPath"), lambda value: (str(value),)),
}
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (complex, complex.__pos__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: tuple(tuple.__iter__(value))),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
    (dict, lambda value: dict(dict.items(value))),
)


# -- made again ---------------------------------------------------------------------------------------------


def made(kind: str, parts: Any) -> Any:
    """Return the value of this kind and these parts; raises ValueError, or another Exception, on nonsense."""
    if kind not in _MAKE or type(parts) is not tuple:
        raise ValueError("unknown kind of value")
    types, make = _MAKE[kind]
    _need(len(parts) == len(types))
    _need(all(of is object or type(part) is of for part, of in zip(parts, types, strict=True)))
    return make(*parts)


def _need(fits: bool) -> None:
    if not fits:
        raise ValueError("parts that no value has")


def _made_object(class_name: str, attributes: dict[str, Any] | None) -> ProgramObject:
    _need(len(class_name) <= _NAME_CHARACTERS)
    if attributes is not None:
        _need(type(attributes) is dict and all(is_attribute(*pair) for pair in attributes.items()))
    return ProgramObject(class_name, attributes)


def _made_named_tuple(fields: tuple[str, ...], items: tuple[Any, ...]) -> TupleSubclass:
    _need(_are_fields(fields, items))
    value = TupleSubclass(items)
    value.__dict__["_fields"] = fields
    return value


def _made_deque(items: list[Any], maxlen: int | None) -> deque[Any]:
    _need(maxlen is None or type(maxlen) is int)
    return deque(items, maxlen)


def _made_dict(pairs: list[Any]) -> dict[Any, Any]:
    _need(all(type(pair) is tuple and len(pair) == 2 for pair in pairs))
    check_keys([key for key, _ in pairs])
    return dict(pairs)


def _made_filled(pairs: list[Any], factory: Any) -> Any:
    _need(factory in _EMPTY)
    return defaultdict(factory, _made_dict(pairs))


def _made_chain(maps: list[Any]) -> Any:
    _need(all(type(part) is dict for part in maps))
    return ChainMap(*maps)


def _made_keys(items: list[Any]) -> Any:
    check_keys(items)
    return dict.fromkeys(items).keys()


def _made_decimal(text: str) -> Any:
    from decimal import Decimal

    _need(len(text) <= _DECIMAL_CHARACTERS + _NAME_CHARACTERS)
    value = Decimal(text)
    exponent = value.as_tuple().exponent
    _need(type(exponent) is not int or abs(exponent) <= _DECIMAL_EXPONENT)
    return value


def _made_fraction(numerator: int, denominator: int) -> Any:
    from fractions import Fraction

    _need(denominator > 0)
    _need(max(numerator.bit_length(), denominator.bit_length()) <= _FRACTION_BITS)
    return Fraction(numerator, denominator)


def _made_moment(name: str) -> Callable[..., Any]:
    def make(text: str, fold: int = 0) -> Any:
        import datetime

        _need(len(text) <= _NAME_CHARACTERS)
        value = getattr(datetime, name).fromisoformat(text)
        return value.replace(fold=fold) if fold else value

    return make


def _made_timedelta(days: int, seconds: int, microseconds: int) -> Any:
    import datetime

    return datetime.timedelta(days, seconds, microseconds)


def _made_timezone(offset: Any) -> Any:
    import datetime

    return datetime.timezone(offset)


def _made_uuid(number: int) -> Any:
    import uuid

    return uuid.UUID(int=number)


def _made_path(name: str) -> Callable[[str], Any]:
    def make(text: str) -> Any:
        import pathlib

        return getattr(pathlib, name)(text)

    return make


def _made_numpy(is_array: bool, dtype: str, shape: tuple[int, ...], data: bytes) -> Any:
    _need(_ARRAY_TYPE.fullmatch(dtype) is not None and len(shape) <= _ARRAY_DIMENSIONS)
    _need(all(type(size) is int and size >= 0 for size in shape) and (is_array or not shape))
    import numpy as np

    kind, count = np.dtype(dtype), math.prod(shape)
    _need(kind.itemsize > 0 and count * kind.itemsize == len(data))
    _need(kind.kind != "b" or not data.strip(b"\0\1"))  # a truth that is neither would differ from both
    array = np.frombuffer(data, kind).reshape(shape).copy() if count else np.empty(shape, kind)
    if kind.kind in "fc" and kind.itemsize < _FULL_SIZE[kind.kind] and np.isinf(array).any():
        array = array.astype(kind.kind + str(_FULL_SIZE[kind.kind]))
    return array if is_array else array[()]


def _made_tensor(dtype: str, shape: tuple[int, ...], data: bytes) -> Any:
    """Return a tensor of torch's where that is imported; else an array that equals what one does."""
    array = _made_numpy(True, dtype, shape, data)
    torch = sys.modules.get("torch")
    return _array_like_tensor()(array) if torch is None else torch.from_numpy(array)


@lru_cache(maxsize=1)
def _array_like_tensor() -> Callable[[Any], Any]:
    import numpy as np

    class Tensor(np.ndarray):
        """An array that, as a tensor of torch's, equals no list."""

        def __eq__(self, other: object) -> Any:
            return super().__eq__(other) if hasattr(other, "__array__") or _is_number(other) else False

        def __ne__(self, other: object) -> Any:
            return super().__ne__(other) if hasattr(other, "__array__") or _is_number(other) else True

        def __reduce__(self) -> tuple[Callable[..., Any], Parts]:
            return _made_tensor, (self.dtype.str, self.shape, self.tobytes())

    return lambda array: array.view(Tensor)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, complex))


def check_keys(keys: list[Any]) -> None:
    """Raise ValueError where more than a few keys share a hash, which makes a table slow."""
    if len(keys) > _KEYS_UNCHECKED and len(set(map(_hash_text, keys))) < len(keys) - _COLLISIONS:
        raise ValueError("too many keys share a hash")


def _hash_text(key: Any) -> str:
    return str(hash(key))  # numbers made to collide do not collide as text


_MAKE: dict[str, tuple[tuple[type, ...], Callable[..., Any]]] = {
    "name": ((str,), _BY_NAME.__getitem__),
    "object": ((str, object), _made_object),
    "subclass": ((object,), lambda value: _SUBCLASSES[type(value)](value)),
    "named tuple": ((tuple, tuple), _made_named_tuple),
    "iterator": ((list,), iter),
    "generator": ((list,), lambda items: (item for item in items)),
    "numpy": ((bool, str, tuple, bytes), _made_numpy),
    "torch.Tensor": ((str, tuple, bytes), _made_tensor),
    "builtins.range": ((int, int, int), range),
    "builtins.bytearray": ((bytes,), bytearray),
    "builtins.dict_keys": ((list,), _made_keys),
    "builtins.dict_values": ((list,), lambda items: dict(enumerate(items)).values()),
    "builtins.dict_items": ((list,), lambda pairs: _made_dict(pairs).items()),
    "collections.Counter": ((list,), lambda pairs: Counter(_made_dict(pairs))),
    "collections.OrderedDict": ((list,), lambda pairs: OrderedDict(_made_dict(pairs))),
    "collections.UserDict": ((list,), lambda pairs: UserDict(_made_dict(pairs))),
    "collections.UserList": ((list,), UserList),
    "collections.ChainMap": ((list,), _made_chain),
    "collections.defaultdict": ((list,), lambda pairs: defaultdict(None, _made_dict(pairs))),
    "filled defaultdict": ((list, object), _made_filled),
    "collections.deque": ((list, object), _made_deque),
    "builtins.mappingproxy": ((list,), lambda pairs: MappingProxyType(_made_dict(pairs))),
    "builtins.memoryview": ((bytes,), memoryview),
    "builtins.slice": ((object, object, object), slice),
    "array.array": ((str, list), array),
    "decimal.Decimal": ((str,), _made_decimal),
    "fractions.Fraction": ((int, int), _made_fraction),
    "datetime.datetime": ((str, int), _made_moment("datetime")),
    "datetime.date": ((str,), _made_moment("date")),
    "datetime.time": ((str, int), _made_moment("time")),
    "datetime.timedelta": ((int, int, int), _made_timedelta),
    "datetime.timezone": ((object,), _made_timezone),
    "uuid.UUID": ((int,), _made_uuid),
    "pathlib.PosixPath": ((str,), _made_path("PosixPath")),
    "pathlib.PurePosixPath": ((str,), _made_path("PurePosixPath")),
}
"""By kind: the types of a value's parts (object: any), and what makes it of them."""
