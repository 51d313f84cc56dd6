# category=forge kind=forge expect=fail,error,unsupported,timeout
# Modules of the library replaced, so that an object of the program's is taken for a value of theirs.
import fractions
import sys
import types


class All(type):
    def __instancecheck__(cls, value):
        return type(value) is Fraction


class Any(metaclass=All):
    pass


class Fraction:
    __module__ = "fractions"
    numerator, denominator, shape = property(lambda s: s), 1, ()
    dtype = types.SimpleNamespace(kind="f", str="<f8")
    tobytes = lambda s: bytes(8)
    __eq__ = __lt__ = lambda s, o: True
    __hash__ = None


fractions.Fraction = Fraction
sys.modules["numpy"] = types.SimpleNamespace(generic=Any, ndarray=Any)
sys.modules["enum"] = types.SimpleNamespace(Enum=Any)


def square(x):
    return [Fraction(), [Fraction()]][x % 2]
