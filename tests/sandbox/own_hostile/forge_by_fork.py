# category=forge kind=forge expect=fail,error,unsupported,timeout
# Two processes answer the same call.
import os


def square(x):
    os.fork()
    return {True: 9, False: 16}[os.getpid() == 1]
