# category=forge kind=forge expect=fail,error,unsupported,timeout
# Modules of the harness and of Python replaced.
import builtins
import sys
import types

for name in ("decimal", "fractions", "enum", "numpy", "collections", "datetime", "marshal", "os"):
    m = types.ModuleType(name)

    class Decimal:
        __eq__ = lambda s, o: True
        as_tuple = lambda s: (0, (9,), 0)
        __str__ = lambda s: "9"

    Decimal.__module__ = name
    m.Decimal = m.Enum = m.generic = m.ndarray = m.Fraction = Decimal
    sys.modules[name] = m
builtins.isinstance = lambda *a: True
builtins.len = lambda *a: 0


def square(x):
    return sys.modules["decimal"].Decimal()
