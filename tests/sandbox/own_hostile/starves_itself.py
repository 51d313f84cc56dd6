# category=time kind=script expect=timeout,ok
# A program that gives way to all others was not starved by the machine.
import os
import time

for step in (lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)), lambda: os.nice(19)):
    try:
        step()
        print("ESCAPED")
    except OSError:
        pass
for _ in range(40):
    if os.fork() == 0:
        while True:
            os.sched_yield()
            time.sleep(0.01)
time.sleep(9)
