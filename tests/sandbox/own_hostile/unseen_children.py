# category=time kind=script expect=timeout
# The kernel reaps each child, and each is shorter than a clock tick; the CPU time of all counts.
import os
import signal
import time

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        while time.process_time() < 0.006:
            pass
        os._exit(0)
    time.sleep(0.006)
