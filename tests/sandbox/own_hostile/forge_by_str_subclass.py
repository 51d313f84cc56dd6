# category=forge kind=forge expect=fail,error,unsupported,timeout
# A string of a class of its own.
class A(str):
    __eq__ = lambda s, o: True
    __hash__ = lambda s: hash(9)
    encode = lambda s, *a: b"\x09"


def square(x):
    return A("9")
