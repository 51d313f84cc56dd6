# category=forge kind=forge expect=fail,error,unsupported,timeout
# An alarm in the midst of an answer.
import os
import signal


def ring(*a):
    try:
        os.write(4, b"\x06\0\0\0Vi\x01\x09")
    except OSError:
        pass


signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)


def square(x):
    return 9
