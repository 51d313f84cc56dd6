# category=forge kind=forge expect=fail,error
# An exit code is no verdict.
import os


def square(x):
    os._exit(0)
