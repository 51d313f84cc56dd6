# category=cpu kind=script expect=blocked
# What the machine would do in its own time: write its disks back, leave the other half of a core idle.
import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
reached = [name for name in ("syncfs", "fsync", "fdatasync") if getattr(libc, name)(-1) != 0]
if libc.posix_fadvise(-1, 0, 0, 4) != 0:
    reached.append("posix_fadvise")
if libc.prctl(62, 1, 0, 0, 0) == 0 or ctypes.get_errno() != errno.EPERM:
    reached.append("core scheduling")
for name in ("autogroup", "oom_score_adj", "coredump_filter", "timerslack_ns"):
    try:
        os.close(os.open(f"/proc/self/{name}", os.O_WRONLY))
        reached.append(name)
    except OSError:
        pass
print("ESCAPED" if reached else "BLOCKED", reached)
