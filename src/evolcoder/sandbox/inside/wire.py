"""The few bytes that the scorer and a fork server exchange.

A request is one packet with its descriptors; the fork server never reads what they hold. The reply is one
packet. A frame between processes is a 32-bit length, a letter that says of what kind it is, and a body.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from os import pread, read, write  # bound here: a program may replace them in their module
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
ONE_TESTER: Final = 7
"""As TESTER, for one program: tests that a model may have written."""

NO_ADDRESS_LIMIT: Final = 1
"""Flag: leave RLIMIT_AS alone (runtimes that reserve more than they use)."""

ENDED: Final = 0
KILLED_CPU: Final = 1
KILLED_WALL: Final = 2
KILLED_MEMORY: Final = 3
KILLED_ASKED: Final = 4

TESTS_OVER_TIME: Final = 3
"""Exit code of the tests' process where the kernel ended the tests for their CPU time."""

TESTS_NAME: Final = "<tests>"
"""The file that tests are compiled as."""
LAST_WORD_S: Final = 0.2
"""Tests may use this much CPU time more to end by themselves; then their process is ended."""

PAYLOAD_FD: Final = 3
CHANNEL_FD: Final = 4
WORD_FD: Final = 5
"""Where the tests of one program say what came of them."""

_LENGTH = struct.Struct("<I")
_MOST_AT_ONCE = 1 << 16
"""Of a payload: most are shorter."""


READY: Final = b"R"
VALUE: Final = b"V"
"""What a call gave, and in a batch the CPU seconds that it took."""
CHANGED: Final = b"C"
"""What a call gave, and its arguments, which it changed in place."""
SAME: Final = b"M"
"""Which of its arguments a call gave back, and the arguments as it left them."""
ERROR: Final = b"E"
"""What a call raised: reason, names of the nearest known classes, description, what it was made of."""
UNSUPPORTED: Final = b"U"
"""Why the value of a call cannot cross."""
UNFIT: Final = b"X"
"""Why the program cannot be called at all: reason, description."""
PASSED: Final = b"P"
"""The program came to its end: with the word of its run, where it carries its own tests."""
CALL: Final = b"A"
CALL_WITH_OBJECTS: Final = b"B"
"""A call whose tests have classes of their own: the source of classes, and what `SharedObjects` packed."""
VALUE_WITH_OBJECTS: Final = b"D"
"""What such a call gave, with the arguments as it left them."""
STEP_ENDED: Final = b"S"
NO_COMMAND: Final = b"N"
NOT_STARTED: Final = b"O"

MAX_VALUE_BYTES: Final = 64 << 20
MAX_WORD_BYTES: Final = 1 << 14
MAX_BODY_BYTES: Final[Mapping[bytes, int]] = {
    READY: 0,
    PASSED: 64,
    VALUE: MAX_VALUE_BYTES + 1024,
    CHANGED: MAX_VALUE_BYTES + 1024,
    SAME: MAX_VALUE_BYTES + 1024,
    CALL: MAX_VALUE_BYTES + 1024,
    CALL_WITH_OBJECTS: MAX_VALUE_BYTES + 1024,
    VALUE_WITH_OBJECTS: MAX_VALUE_BYTES + 1024,
    **dict.fromkeys((ERROR, UNSUPPORTED, UNFIT, STEP_ENDED, NO_COMMAND, NOT_STARTED), MAX_WORD_BYTES),
}
"""Size that the body of each kind of frame may have."""


def send_frame(fd: int, kind: bytes, body: bytes = b"") -> None:
    """Write one frame; raises OSError when the other end is gone."""
    data = memoryview(_LENGTH.pack(len(body) + 1) + kind + body)
    while data:
        data = data[write(fd, data) :]


def read_frame(fd: int, expected: bytes) -> tuple[bytes, bytes] | None:
    """Read one frame, kind and body, of one of the kinds whose letters are `expected`.

    None at the end of the stream, and for a frame of another kind or of more than its kind may have.
    """
    head = read_exactly(fd, 5)
    if head is None:
        return None
    kind = head[4:]
    size = frame_body_bytes(head)
    if size is None or kind not in expected:
        return None
    body = read_exactly(fd, size) if size else b""
    return None if body is None else (kind, body)


def frame_body_bytes(head: bytes | bytearray) -> int | None:
    """Return the size of the body that a frame's five first bytes announce; None where it may not have it."""
    size = _LENGTH.unpack_from(head)[0] - 1
    return size if 0 <= size <= MAX_BODY_BYTES.get(bytes(head[4:5]), -1) else None


def read_exactly(fd: int, size: int) -> bytes | None:
    """Read `size` bytes; None when the stream ends before."""
    first = read(fd, size) if size else b""
    if len(first) == size:
        return first
    if not first:
        return None
    parts = bytearray(first)
    while len(parts) < size:
        more = read(fd, min(size - len(parts), 1 << 20))
        if not more:
            return None
        parts += more
    return bytes(parts)


def read_to_end(fd: int) -> bytes:
    """Read what nobody else reads, a pipe or a file, from where it is."""
    parts = bytearray(read(fd, _MOST_AT_ONCE))
    while more := read(fd, _MOST_AT_ONCE):
        parts += more
    return bytes(parts)


def read_all(fd: int) -> bytes:
    """Read a sealed payload, which others may read too, from its start."""
    first = pread(fd, _MOST_AT_ONCE, 0)
    if len(first) < _MOST_AT_ONCE:
        return first
    parts = bytearray(first)
    while more := pread(fd, _MOST_AT_ONCE, len(parts)):
        parts += more
    return bytes(parts)
