# category=memory kind=script expect=memory,timeout
# No process is over its own limit, but all together are.
import os
import time

for _ in range(8):
    if os.fork() == 0:
        held = bytearray(b"x" * (150 << 20))
        time.sleep(60)
time.sleep(60)
