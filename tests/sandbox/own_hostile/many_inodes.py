# category=state kind=script expect=ok,error,blocked
import os

try:
    for i in range(10**6):
        os.close(os.open(f"/tmp/{i}", os.O_CREAT | os.O_WRONLY))
    print("ESCAPED")
except OSError:
    print("BLOCKED")
