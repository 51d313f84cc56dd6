# category=forge kind=forge expect=fail,error,unsupported
# Whatever is written to the channel is at most an answer to a call.
import os


def square(x):
    for fd in range(64):
        for message in (b"passed", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00T", b"\xff\xff\xff\xff"):
            try:
                os.write(fd, message)
            except OSError:
                pass
    return 0
