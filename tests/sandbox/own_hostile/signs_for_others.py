# category=state kind=script expect=blocked
# What the next program, or one beside this, could read: a lock, a counter of the network, a watch on a file.
import ctypes
import fcntl
import os
import socket

reached = []
program = os.open("/usr/bin/env", os.O_RDONLY)
for name, attempt in (
    ("lock", lambda: fcntl.flock(program, fcntl.LOCK_SH)),
    ("lease", lambda: fcntl.fcntl(program, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
    ("loopback", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    ("loopback 6", lambda: socket.socket(socket.AF_INET6)),
    ("terminal", os.openpty),
):
    try:
        attempt()
        reached.append(name)
    except OSError:
        pass
if ctypes.CDLL(None).inotify_init() >= 0:
    reached.append("watch")
print("ESCAPED" if reached else "BLOCKED", reached)
