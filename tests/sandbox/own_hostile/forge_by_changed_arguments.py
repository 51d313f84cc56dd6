# category=forge kind=forge expect=fail,error,unsupported,timeout
# An argument changed into what the tests would compare.
def square(x):
    import sys

    f = sys._getframe(1)
    f.f_locals.get("arguments", [0])[0] = 9
    return 9
