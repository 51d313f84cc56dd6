# category=forge kind=forge expect=fail,error,unsupported,timeout
# Descriptors sent along with an answer.
import array
import os
import socket


def square(x):
    try:
        s = socket.socket(fileno=os.dup(4))
        fds = array.array("i", [os.open("/dev/null", os.O_RDONLY) for _ in range(60)])
        s.sendmsg([b"\x06\0\0\0Vi\x01\x09"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    except OSError:
        pass
    return 9
