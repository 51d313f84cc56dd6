"""The few bytes that the scorer and a fork server exchange.

A request is one packet with its descriptors; the fork server never reads what they hold. The reply is one
packet. Frames between processes are a 32-bit length and a body.
"""

from __future__ import annotations

import os
import struct
from typing import Final

REQUEST: Final = struct.Struct("<BddQIQB")
"""kind, cpu_s, wall_s, memory_bytes, processes, disk_bytes, flags."""
REPLY: Final = struct.Struct("<iBddQd")
"""wait status, why it was killed, cpu_s, wall_s, peak_memory_bytes, starved_s."""

STDIO: Final = 1
CANDIDATE: Final = 2
BATCH: Final = 3
IN_PROCESS: Final = 4
TESTER: Final = 5
EXEC: Final = 6

NO_ADDRESS_LIMIT: Final = 1
"""Flag: leave RLIMIT_AS alone (runtimes that reserve more than they use)."""

ENDED: Final = 0
KILLED_CPU: Final = 1
KILLED_WALL: Final = 2
KILLED_MEMORY: Final = 3
KILLED_ASKED: Final = 4

PAYLOAD_FD: Final = 3
CHANNEL_FD: Final = 4

_LENGTH = struct.Struct("<I")


def send_frame(fd: int, body: bytes) -> None:
    """Write one frame; raises OSError when the other end is gone."""
    data = memoryview(_LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


def read_frame(fd: int, max_bytes: int) -> bytes | None:
    """Read one frame; None at the end of the stream or when it claims more than `max_bytes`."""
    head = read_exactly(fd, 4)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    return None if size > max_bytes else read_exactly(fd, size)


def read_exactly(fd: int, size: int) -> bytes | None:
    """Read `size` bytes; None when the stream ends before."""
    first = os.read(fd, size) if size else b""
    if len(first) == size:
        return first
    if not first:
        return None
    parts = bytearray(first)
    while len(parts) < size:
        more = os.read(fd, min(size - len(parts), 1 << 20))
        if not more:
            return None
        parts += more
    return bytes(parts)


def read_all(fd: int) -> bytes:
    """Read a sealed payload from its start."""
    size = os.fstat(fd).st_size
    parts = bytearray()
    while len(parts) < size:
        more = os.pread(fd, size - len(parts), len(parts))
        if not more:
            break
        parts += more
    return bytes(parts)
