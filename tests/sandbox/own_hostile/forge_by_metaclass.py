# category=forge kind=forge expect=fail,error,unsupported,timeout
# A class is a value too, and its class defines what it equals.
class M(type):
    __eq__ = lambda s, o: True
    __hash__ = type.__hash__
    __instancecheck__ = lambda s, o: True


class A(metaclass=M):
    pass


def square(x):
    return A
