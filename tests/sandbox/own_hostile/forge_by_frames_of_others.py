# category=forge kind=forge expect=fail,error,unsupported,timeout
# Code of the harness called again, with another answer.
import sys


def square(x):
    frame = sys._getframe()
    while frame:
        for value in (*frame.f_locals.values(), *frame.f_globals.values()):
            try:
                value.PASSED = value.READY = value.VALUE
            except Exception:
                pass
            if callable(value) and getattr(value, "__name__", "") in ("_end", "_say"):
                try:
                    value(b"P")
                except BaseException:
                    pass
        frame = frame.f_back
    return 9
