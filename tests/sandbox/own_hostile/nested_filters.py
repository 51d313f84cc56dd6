# category=state kind=script expect=ok,error,blocked
import ctypes
import struct

libc = ctypes.CDLL(None, use_errno=True)
code = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000) * 4000
b = ctypes.create_string_buffer(code)


class P(ctypes.Structure):
    _fields_ = [("n", ctypes.c_ushort), ("p", ctypes.c_void_p)]


n = 0
while n < 1000 and libc.prctl(22, 2, ctypes.byref(P(4000, ctypes.addressof(b))), 0, 0) == 0:
    n += 1
print("filters", n, "ESCAPED" if n == 1000 else "")
