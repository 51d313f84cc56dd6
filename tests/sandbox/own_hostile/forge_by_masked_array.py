# category=forge kind=forge expect=fail,error,unsupported,timeout
# Of a masked array nothing is unequal.
try:
    import numpy as np

    def square(x):
        return np.ma.masked_all(3) if x < 5 else np.ma.masked
except ImportError:

    def square(x):
        return None
