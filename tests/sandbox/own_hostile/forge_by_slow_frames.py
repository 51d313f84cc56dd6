# category=forge kind=forge expect=fail,error,timeout,unsupported
import os
import struct
import time


def square(x):
    for fd in range(3, 12):
        try:
            os.write(fd, struct.pack("<I", 100))
        except OSError:
            pass
    while True:
        for fd in range(3, 12):
            try:
                os.write(fd, b"x")
            except OSError:
                pass
        time.sleep(0.05)
