# category=state kind=script expect=blocked
# Rings for asynchronous reads, of which the whole machine has a number.
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
context = ctypes.c_ulong(0)
number = {"x86_64": 206, "aarch64": 0}[__import__("os").uname().machine]
if libc.syscall(ctypes.c_long(number), ctypes.c_long(4096), ctypes.byref(context)) < 0:
    print("BLOCKED")
else:
    print("ESCAPED")
