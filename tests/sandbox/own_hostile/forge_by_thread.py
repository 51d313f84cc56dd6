# category=forge kind=forge expect=fail,error,unsupported,timeout
# A thread changes a value while it crosses, and writes to the channel itself.
import os
import threading
import time

values = [0]


def work():
    while True:
        values[:] = [9] * (len(values) % 1000 + 1)
        try:
            os.write(4, b"\x01\0\0\0P\x06\0\0\0Vi\x01\x09")
        except OSError:
            pass
        time.sleep(0)


threading.Thread(target=work, daemon=True).start()


def square(x):
    return values
