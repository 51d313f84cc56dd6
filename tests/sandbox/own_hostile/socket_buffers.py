# category=memory kind=script expect=memory,timeout
# What was sent to connections that nobody accepted, by ends that are closed, is in no process.
import socket
import time

listener = socket.socket(socket.AF_UNIX)
listener.bind("/tmp/listener")
listener.listen(4096)
for _ in range(3500):
    sender = socket.socket(socket.AF_UNIX)
    sender.connect("/tmp/listener")
    sender.send(bytes(150_000))
    sender.close()
time.sleep(0.2)  # longer than from one look to the next
print("ESCAPED")
