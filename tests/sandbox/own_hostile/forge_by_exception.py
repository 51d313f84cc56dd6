# category=forge kind=forge expect=fail,error,unsupported,timeout
# An exception that speaks for the tests.
class Passed(BaseException):
    def __str__(s):
        return "passed"


Passed.__name__ = Passed.__qualname__ = "GeneratorExit"
Passed.__module__ = "builtins"
import builtins


def square(x):
    builtins.GeneratorExit = Passed
    raise Passed if x < 5 else SystemExit(0)
