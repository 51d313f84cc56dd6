# category=forge kind=forge expect=fail,error,timeout,unsupported
class HiddenError(Exception):
    def __str__(s):
        raise SystemExit

    __repr__ = __str__


HiddenError.__name__ = "AssertionError"


def square(x):
    raise HiddenError
