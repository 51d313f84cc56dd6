# category=state kind=script expect=ok,error,blocked
import socket

n = 0
keep = []
for c in range(64):
    for r in range(64):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.bind(f"\0evolcoder-core-{c}-{r}")
            n += 1
        except OSError:
            pass
        s.close()
print(n)
