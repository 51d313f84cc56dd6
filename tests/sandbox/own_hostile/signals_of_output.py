# category=state kind=script expect=ok,error,blocked
import fcntl
import os

for fd in (0, 1, 2):
    for p in (1, os.getppid(), -1):
        try:
            fcntl.fcntl(fd, fcntl.F_SETOWN, p)
            fcntl.fcntl(fd, 10, 9)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        except OSError:
            pass
print("x" * 1000)
