# category=state kind=script expect=ok,error,blocked
import os

f = open("/tmp/a", "w")
n = 0
try:
    while n < 20000:
        os.setxattr("/tmp/a", f"user.{n}", b"x" * 60000)
        n += 1
except OSError as e:
    print("BLOCKED", n, e)
if n * 60000 > 600 << 20:
    print("ESCAPED")
