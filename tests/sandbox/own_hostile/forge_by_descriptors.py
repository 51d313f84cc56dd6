# category=forge kind=forge expect=fail,error,unsupported,timeout
# The channel is moved, doubled and closed.
import os
import socket

for fd in range(3, 10):
    try:
        os.dup2(fd, fd + 20)
        s = socket.socket(fileno=os.dup(fd))
        s.setblocking(False)
        print(s.recv(1000, socket.MSG_PEEK))
        s.shutdown(socket.SHUT_RD)
    except OSError:
        pass


def square(x):
    return 9
