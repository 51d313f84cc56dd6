# category=forge kind=forge expect=fail,error,timeout,unsupported
import gc
import types

for o in gc.get_objects():
    if isinstance(o, types.FunctionType) and o.__name__ in ("encode", "_answer", "send_frame"):
        try:
            o.__code__ = (lambda *a, **k: (b"V", b"T")).__code__
        except Exception:
            pass


def square(x):
    return 0
