# category=memory kind=script expect=memory,timeout
# Pipes of a process that cannot be looked into.
import ctypes
import os
import time

ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
for _ in range(60):
    if os.fork() == 0:
        for _ in range(120):
            try:
                r, w = os.pipe()
            except OSError:
                break
            os.write(w, bytes(65536))
        held = b"x" * (3 << 20)
        time.sleep(5)
time.sleep(5)
print("ESCAPED")
