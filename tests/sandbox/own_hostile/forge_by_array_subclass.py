# category=forge kind=forge expect=fail,error,timeout,unsupported
import numpy as np


class A(np.ndarray):
    def __array_ufunc__(s, *a, **k):
        return True

    def __eq__(s, o):
        return True


def square(x):
    return np.array([1.0]).view(A)
