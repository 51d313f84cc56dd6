# category=forge kind=forge expect=fail,error,unsupported,timeout
# A truth that is neither.
try:
    import numpy as np

    def square(x):
        return np.frombuffer(b"\x02", np.bool_)
except ImportError:

    def square(x):
        return None
