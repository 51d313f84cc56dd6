# category=forge kind=forge expect=fail,error,timeout,unsupported
from collections import UserList


class L(UserList):
    def __eq__(s, o):
        return True


def square(x):
    return L([1])
