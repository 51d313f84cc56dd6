# category=forge kind=forge expect=fail,error,unsupported,timeout
# A timer's handler and a dump of the traceback write into whatever is open, in the middle of an answer.
import faulthandler
import os
import signal


def write(*_):
    for fd in range(3, 8):
        try:
            os.write(fd, b"\2\0\0\0VT")
        except OSError:
            pass


signal.signal(signal.SIGALRM, write)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)


def square(x):
    for fd in range(3, 8):
        try:
            faulthandler.dump_traceback(fd)
        except (OSError, ValueError):
            pass
    return 0
