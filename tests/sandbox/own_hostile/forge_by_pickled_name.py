# category=forge kind=forge expect=fail,error,unsupported,timeout
# What a pickle would call.
class A:
    def __reduce__(s):
        return (eval, ("9",))

    __reduce_ex__ = lambda s, p: (eval, ("9",))
    __getstate__ = lambda s: {"__eq__": None}
    __deepcopy__ = lambda s, m: 9


def square(x):
    return A()
