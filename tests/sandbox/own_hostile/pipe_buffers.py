# category=memory kind=script expect=memory,timeout
# Full pipes are memory of the kernel's; nor may one be made larger.
import fcntl
import os
import time

try:
    fcntl.fcntl(os.pipe()[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    print("ESCAPED")
except OSError:
    pass
for _ in range(60):
    if os.fork() == 0:
        try:
            while True:
                os.set_blocking(os.pipe()[1], False)
        except OSError:
            time.sleep(60)
time.sleep(60)
