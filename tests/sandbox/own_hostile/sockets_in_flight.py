# category=state kind=script expect=error
# Sockets that hold each other are left behind.
import array
import socket

for _ in range(100):
    try:
        a, b = socket.socketpair()
        fds = array.array("i", [a.fileno(), b.fileno()])
        a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        b.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    except ValueError:
        break
