# category=forge kind=forge expect=fail,error,unsupported,timeout
# A dataclass whose fields are equal to everything.
import dataclasses


class All:
    __eq__ = lambda s, o: True


@dataclasses.dataclass(eq=False)
class A:
    _class_name: object = None
    _attributes: object = dataclasses.field(default_factory=All)
    real: float = 9.0
    __eq__ = lambda s, o: True


def square(x):
    return A()
