# category=state kind=script expect=ok
# What is left in the folders that can be written is gone for the next program, and so is a process.
import os

for folder in ("/tmp", "/dev/shm"):
    with open(folder + "/left", "w") as file:
        file.write("x")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import time

        time.sleep(60)
os._exit(0)
