# category=forge kind=forge expect=fail,error,unsupported,timeout
# A tuple that calls its fields so is no array either.
class T(tuple):
    _fields = ("__array_interface__", "__eq__")


def square(x):
    return T(({"shape": (), "typestr": "<f8", "data": (4096, False), "version": 3}, True))
