# category=forge kind=forge expect=fail,error,unsupported,timeout
# Values that are slow to hash, to compare or to show.
import decimal
import fractions


def square(x):
    if x == 3:
        return decimal.Decimal("9e19999")
    if x == 4:
        return fractions.Fraction(10**9000 + 1, 10**9000)
    return range(10**18, 10**19, 3)
