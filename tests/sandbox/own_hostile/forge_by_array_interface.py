# category=forge kind=forge expect=fail,error,unsupported,timeout
# numpy reads the memory that such a field describes.
import dataclasses


@dataclasses.dataclass
class A:
    __array_interface__: dict


def square(x):
    return A({"shape": (4,), "typestr": "<f8", "data": (id(x), False), "version": 3})
