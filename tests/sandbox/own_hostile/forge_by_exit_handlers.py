# category=forge kind=forge expect=fail,error,unsupported,timeout
# What runs at exit says that all is well.
import atexit
import os
import sys


def say():
    for fd in range(3, 8):
        try:
            os.write(fd, b"\x01\0\0\0P")
        except OSError:
            pass
    os._exit(0)


atexit.register(say)
sys.exitfunc = say


class D:
    def __del__(s):
        say()


d = D()


def square(x):
    sys.exit(0)
