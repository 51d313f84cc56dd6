# category=memory kind=script expect=ok
# Timers and queued signals.
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
n = 0
t = ctypes.c_void_p()
while n < 300000 and libc.timer_create(1, None, ctypes.byref(t)) == 0:
    n += 1
print("timers", n)
if n > 1024:
    print("ESCAPED")
