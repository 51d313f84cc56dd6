# category=memory kind=script expect=blocked
# Semaphores and messages of System V are memory of the kernel's that belongs to no process.
import ctypes

libc = ctypes.CDLL(None)
made = [libc.semget(0, 32000, 0o1600), libc.msgget(0, 0o1600), libc.shmget(0, 1 << 20, 0o1600)]
print("BLOCKED" if made == [-1, -1, -1] else "ESCAPED", made)
