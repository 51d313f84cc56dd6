# category=network kind=script expect=blocked
# Neither the host's ports nor its sockets without a path can be reached.
import socket

for family, address in ((socket.AF_INET, ("127.0.0.1", 48231)), (socket.AF_UNIX, "\0sbxhost")):
    with socket.socket(family) as client:
        client.settimeout(1)
        try:
            client.connect(address)
            print("ESCAPED", address)
        except OSError as error:
            print("BLOCKED", error)
