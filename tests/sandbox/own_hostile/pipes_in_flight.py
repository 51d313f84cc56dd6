# category=memory kind=script expect=error
# Full pipes sent into sockets, so that no process has them.
import array
import os
import socket
import time

keep = []
for _ in range(90):
    if os.fork() == 0:
        while True:
            a, b = socket.socketpair()
            keep.append((a, b))
            for _ in range(4):
                r, w = os.pipe()
                os.write(w, bytes(65536))
                a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [r]))])
                os.close(r)
                os.close(w)
time.sleep(0.3)
