# category=forge kind=forge expect=fail,error,unsupported,timeout
# An Enum member whose value is equal to everything.
import enum


class All:
    __eq__ = lambda s, o: True
    __hash__ = lambda s: 0


class E(enum.Enum):
    A = All()
    __eq__ = lambda s, o: True
    __hash__ = lambda s: 0


def square(x):
    return E.A
