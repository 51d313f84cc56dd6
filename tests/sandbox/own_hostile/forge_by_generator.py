# category=forge kind=forge expect=fail,error,unsupported,timeout
# A generator that ends, raises or never ends.
import itertools


def square(x):
    def g():
        yield 9
        raise StopIteration

    return g() if x < 5 else itertools.repeat(9)
