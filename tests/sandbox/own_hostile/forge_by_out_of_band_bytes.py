# category=forge kind=forge expect=fail,error,timeout,unsupported
import os
import socket

for fd in range(3, 12):
    try:
        s = socket.socket(fileno=os.dup(fd))
        for _ in range(50):
            s.send(b"V", socket.MSG_OOB)
    except OSError:
        pass


def square(x):
    return 0
