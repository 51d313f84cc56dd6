# category=time kind=script expect=timeout
# Each child is short and nobody waits for it; the CPU time of all counts.
import os
import signal

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0:
            for _ in range(3_000_000):
                pass
            os._exit(0)
    except OSError:
        pass
