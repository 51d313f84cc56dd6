# category=io kind=script expect=output
# Output is bounded, whichever stream it goes to.
import os

while True:
    os.write(2, b"x" * 65536)
