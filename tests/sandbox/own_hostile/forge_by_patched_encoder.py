# category=forge kind=forge expect=fail,error,unsupported,timeout
# The harness's functions found through the heap.
import gc
import types


def swap():
    for f in [o for o in gc.get_objects() if isinstance(o, types.FunctionType)]:
        if f.__name__ in ("encode", "_answer", "taken_apart", "_changed", "describe"):
            f.__code__ = (lambda *a, **k: b"P").__code__


gc.unfreeze()
swap()


def square(x):
    return 9
