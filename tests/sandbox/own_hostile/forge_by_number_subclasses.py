# category=forge kind=forge expect=fail,error,unsupported,timeout
# Numbers of a class of its own.
class A(float):
    __eq__ = lambda s, o: True
    __sub__ = __rsub__ = lambda s, o: 0.0
    __float__ = lambda s: 9.0
    __pos__ = lambda s: s
    __hash__ = lambda s: 9


def square(x):
    return A("nan")
