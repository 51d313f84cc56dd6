# category=forge kind=forge expect=fail,error,timeout,unsupported
class M(type):
    def __eq__(cls, o):
        return True

    __hash__ = type.__hash__


class C(metaclass=M):
    pass


def square(x):
    return C
