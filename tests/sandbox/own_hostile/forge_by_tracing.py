# category=forge kind=forge expect=fail,error,unsupported,timeout
# A trace function rewrites what the harness has in hand.
import sys


def trace(frame, event, argument):
    if event == "return" and frame.f_code.co_name in ("_answer", "encode"):
        frame.f_locals["value"] = 9
    return trace


def square(x):
    sys.setprofile(trace)
    sys.settrace(trace)
    f = sys._getframe()
    while f:
        f.f_trace = trace
        f = f.f_back
    return 9
