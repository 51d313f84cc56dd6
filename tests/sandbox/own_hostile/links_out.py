# category=files kind=script expect=error,blocked
# Links, sparse files and names that lead elsewhere.
import os

for target in (
    "/".join(("/proc", "1", "root", "etc", "shadow")),
    "/".join(("/proc", "self", "root", "root")),
    "/tmp/../../tmp/sbxhost/secret.txt",
    "/proc/self/cwd/../home",
):
    try:
        os.symlink(target, "l")
        print("ESCAPED", open("l").read(100))
    except OSError:
        pass
    try:
        os.unlink("l")
    except OSError:
        pass
for path in ("/usr/bin/env", "/etc/passwd", "/dev/null"):
    try:
        os.link(path, "/tmp/hard")
        os.chmod("/tmp/hard", 0o777)
        print("ESCAPED")
    except OSError:
        pass
print("BLOCKED")
