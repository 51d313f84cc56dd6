# category=forge kind=forge expect=fail,error,timeout,unsupported
import os
import struct

real = os.write
os.write = lambda fd, b: real(fd, bytes(b).replace(b"\0", b"\t"))
struct.pack = lambda *a: b"\xff" * 4


def square(x):
    return 0
