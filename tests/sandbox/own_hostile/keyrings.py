# category=state kind=script expect=blocked
# Keys would outlive the program.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
key = libc.syscall(ctypes.c_long(number), b"user", b"evolcoder", b"left", ctypes.c_long(4), ctypes.c_long(-4))
print("BLOCKED" if key < 0 else "ESCAPED")
