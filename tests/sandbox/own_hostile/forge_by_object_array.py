# category=forge kind=forge expect=fail,error,unsupported,timeout
# Arrays of objects and of records.
try:
    import numpy as np

    class All:
        __eq__ = lambda s, o: True
        __bool__ = lambda s: True

    def square(x):
        if x < 4:
            return np.array([All()], dtype=object)
        if x < 7:
            return np.zeros((), [("a", "f8"), ("b", "O")])
        return np.datetime64("NaT")
except ImportError:

    def square(x):
        return None
