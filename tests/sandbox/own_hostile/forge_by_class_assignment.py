# category=forge kind=forge expect=fail,error,unsupported,timeout
# The class of a value changes while it crosses.
class Quiet:
    pass


class Loud:
    def __eq__(s, o):
        return True


class Sequence(list):
    def __iter__(s):
        s[0].__class__ = Loud
        return list.__iter__(s)


def square(x):
    return Sequence([Quiet()])[0]
