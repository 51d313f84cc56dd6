# category=memory kind=script expect=memory,timeout
# Processes that cannot be looked into are counted all the same.
import ctypes
import os
import time

ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
for _ in range(20):
    if os.fork() == 0:
        b = bytearray(b"x") * (50 << 20)
        time.sleep(5)
time.sleep(5)
print("ESCAPED")
