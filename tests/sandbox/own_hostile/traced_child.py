# category=process kind=script expect=blocked
# No process can be traced, nor its memory read or written by another.
import ctypes
import os
import signal
import time

libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if not child:
    time.sleep(2)
    os._exit(0)
number = {"x86_64": 101, "aarch64": 117}[os.uname().machine]
traced = libc.syscall(ctypes.c_long(number), ctypes.c_long(16), ctypes.c_long(child), 0, 0)
print("ESCAPED" if traced == 0 else "BLOCKED")
os.kill(child, signal.SIGKILL)
