# category=forge kind=forge expect=fail,error,timeout,unsupported
import os

for fd in range(3, 12):
    try:
        os.set_blocking(fd, False)
    except OSError:
        pass


def square(x):
    return 0
