# category=forge kind=forge expect=fail,error,unsupported
# An object equal to everything does not cross.
class Anything(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


def square(x):
    return Anything()
