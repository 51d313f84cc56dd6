# category=forge kind=forge expect=fail,error,unsupported,timeout
# A named tuple with methods of its own.
import collections


class A(collections.namedtuple("A", "count index")):
    __slots__ = ()
    __eq__ = lambda s, o: True
    __len__ = lambda s: 0
    __iter__ = lambda s: iter((9,))
    _fields = property(lambda s: ("count",))


def square(x):
    return A(9, 9)
