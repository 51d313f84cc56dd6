# category=memory kind=script expect=ok,timeout,error,memory
# Locks of ranges of a file.
import fcntl

f = open("/tmp/f", "w")
for n in range(200000):
    fcntl.lockf(f, fcntl.LOCK_EX, 1, 2 * n)
