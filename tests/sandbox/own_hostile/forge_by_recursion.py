# category=forge kind=forge expect=fail,error,unsupported,timeout
# A value that holds itself, and says so for ever.
class A:
    def __repr__(s):
        return repr(s)

    __str__ = __repr__


def square(x):
    a = [A()]
    a.append(a)
    return a if x < 5 else {"a": a}
