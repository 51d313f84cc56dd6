# category=limits kind=script expect=blocked
# Its own limits, importance and user stay as they are.
import os
import resource


def write(path, data):
    os.write(os.open(path, os.O_WRONLY), data)


done = []
for step in (
    lambda: resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999)),
    lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
    lambda: os.setuid(0) if os.getuid() else 1 / 0,
    lambda: write("/proc/self/oom_score_adj", b"-1000"),
    lambda: write("/proc/self/uid_map", b"0 0 1"),
    lambda: os.setgroups([0]),
    lambda: os.chroot("/tmp"),
    lambda: os.mknod("/tmp/d", 0o60666, os.makedev(8, 0)),
    lambda: open("/proc/sys/kernel/core_pattern").read(),
    lambda: write("/proc/self/setgroups", b"allow"),
):
    try:
        step()
        done.append(step)
    except (OSError, ValueError, ZeroDivisionError):
        pass
print("ESCAPED" if done else "BLOCKED", [f.__code__.co_consts for f in done])
