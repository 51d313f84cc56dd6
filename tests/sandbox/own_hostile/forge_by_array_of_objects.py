# category=forge kind=forge expect=fail,error,timeout,unsupported
import numpy as np


class E:
    def __eq__(s, o):
        return True

    def __sub__(s, o):
        return 0.0

    __rsub__ = __sub__

    def __abs__(s):
        return 0.0

    def __le__(s, o):
        return True


def square(x):
    return np.array(E(), dtype=object)
