# category=forge kind=forge expect=fail,error,unsupported,timeout
# Everything about nothing is true.
try:
    import numpy as np

    def square(x):
        return [np.empty((0, 4)), np.empty(0), [], ()][x % 4]
except ImportError:

    def square(x):
        return []
