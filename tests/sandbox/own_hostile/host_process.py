# category=process kind=script expect=ok
# Only this program's own processes are visible.
import os

others = [name for name in os.listdir("/proc") if name.isdigit() and name != str(os.getpid())]
print("ESCAPED" if others else "clean", others)
