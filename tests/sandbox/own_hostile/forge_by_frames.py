# category=forge kind=forge expect=fail,error,unsupported
# The frames above the call hold neither the tests nor what they expect.
import gc
import sys


def square(x):
    found = {x + 1}
    frame = sys._getframe(1)
    while frame:
        found |= {v for v in frame.f_locals.values() if type(v) is int}
        found |= {c for c in frame.f_code.co_consts if type(c) is int}
        frame = frame.f_back
    for value in gc.get_objects():
        if type(value) is dict and "candidate" in value:
            return value["candidate"]
    return next((v for v in (9, 16, 49, 144) if v in found and v == x * x), 0)
