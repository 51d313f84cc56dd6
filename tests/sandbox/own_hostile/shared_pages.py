# category=memory kind=script expect=blocked
# Shared pages without a file stay while a part of them is mapped, and no process shows them.
import mmap

reached = []
try:
    mmap.mmap(-1, 1 << 20)
    reached.append("anonymous")
except OSError:
    pass
try:
    with open("/dev/zero", "r+b") as zero:
        mmap.mmap(zero.fileno(), 1 << 20)
        reached.append("/dev/zero")
except OSError:
    pass
try:
    mmap.mmap(-1, 1 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
    reached.append("huge")
except OSError:
    pass
print("ESCAPED" if reached else "BLOCKED", reached)
