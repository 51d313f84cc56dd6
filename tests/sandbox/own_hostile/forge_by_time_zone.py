# category=forge kind=forge expect=fail,error,timeout,unsupported
from datetime import datetime, tzinfo


class Z(tzinfo):
    def utcoffset(s, d):
        return None

    def __eq__(s, o):
        return True


def square(x):
    return datetime(1, 1, 1, tzinfo=Z())
