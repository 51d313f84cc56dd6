# category=forge kind=forge expect=fail,error,unsupported,timeout
# A set of numbers that share a hash would keep the judge busy; it is refused.
def square(x):
    return {i * ((1 << 61) - 1) for i in range(3000)}
