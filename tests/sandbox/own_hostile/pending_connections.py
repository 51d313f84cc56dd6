# category=state kind=script expect=ok,error,blocked,memory,timeout
import socket

s = socket.socket(socket.AF_UNIX)
s.bind("\0a")
s.listen(4096)
keep = []
try:
    while len(keep) < 4000:
        c = socket.socket(socket.AF_UNIX)
        c.connect("\0a")
        c.setblocking(False)
        try:
            while True:
                c.send(b"x" * 65536)
        except BlockingIOError:
            pass
        keep.append(c)
except OSError:
    print("BLOCKED")
