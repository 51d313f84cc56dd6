"""Compares what a batch of calls gave, in a process of its own with bounded CPU time and memory.

The process reads a program's frames from their pipe, makes values of them and compares one after another. So
values that are slow to make or to compare, or that take much memory, cost their own verdict and nothing else:
the scorer reads only how far the comparison came. It is no container: nothing of a program runs here.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from typing import NoReturn

from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import BatchComparison, Compare
from evolcoder.sandbox.reasons import Frame, call_value

_MEMORY_BYTES = 4 << 30
_LEAST_CPU_S = 2.0
"""Making and comparing one value may take as long as its call, or this many CPU seconds."""
_LAST_WORD_S = 0.2
_MOMENT_S = 1.0
"""A process that has closed its socket may take as long to be gone."""
_VALUE_FRAMES = wire.VALUE + wire.ERROR + wire.UNSUPPORTED
_TOO_LONG = "timeout"
_START = """\
import socket, sys
from evolcoder.sandbox.comparer import serve
serve(socket.socket(fileno=int(sys.argv[1])))
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """How far a comparison came."""

    values: int
    """How many values were read."""
    mismatch: str | None
    """What is wrong with the last of them."""
    last: Frame
    """The last frame, where it is no value's: what the program's process said of its end."""


class Comparer:
    """The process, seen from the worker; the next one is started when it has ended."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment | threads,
                start_new_session=True,  # Ctrl-C is the worker's to hear
            )
        self.control = ours

    def begin(
        self, comparison: int, stream: int, expected: int, cpu_s: tuple[float, ...] | None, most_cpu_s: float
    ) -> None:
        """Have it compare for `most_cpu_s`; `comparison`, `stream`: descriptors of a pickle and a pipe."""
        with contextlib.suppress(OSError):  # it has ended, which `result` will tell
            request = pickle.dumps((expected, cpu_s, most_cpu_s))
            socket.send_fds(self.control, [request], [comparison, stream])

    def result(self) -> Compared | None:
        """Return what came of it, once `control` can be read; None where it has ended or is not done."""
        try:
            packet = self.control.recv(1 << 16, socket.MSG_DONTWAIT)
        except OSError:
            packet = b""
        return Compared(*pickle.loads(packet)) if packet else None

    def close(self) -> int:
        """End the process; returns how it ended by itself, as `subprocess` says it, 0 where it did not."""
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_MOMENT_S)
        self._process.kill()
        self._process.wait()
        return 0


class _OverTimeError(BaseException):
    """Making or comparing a value took too long."""


def _over_time(number: int, frame: types.FrameType | None) -> None:
    raise _OverTimeError


def serve(control: socket.socket) -> NoReturn:
    """Compare one batch after another until the worker closes its end."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    signal.signal(signal.SIGPROF, _over_time)
    known: tuple[bytes, BatchComparison] | None = None
    while True:
        try:
            request, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 2)
        except ConnectionResetError:  # the worker was killed
            os._exit(0)
        if not request:
            os._exit(0)
        pickled, stream = descriptors
        expected, cpu_s, most_cpu_s = pickle.loads(request)
        data = wire.read_all(pickled)
        os.close(pickled)
        if known is None or known[0] != data:
            known = data, pickle.loads(data)
        over_at_s = time.process_time() + most_cpu_s
        compared = _compared(stream, known[1].make(), expected, cpu_s, over_at_s)
        os.close(stream)
        try:
            control.send(pickle.dumps((compared.values, compared.mismatch, compared.last)))
        except OSError:
            os._exit(0)


def _compared(
    stream: int, compare: Compare, expected: int, cpu_s: tuple[float, ...] | None, over_at_s: float
) -> Compared:
    """Read and compare until something is wrong or the program has said its last word."""
    count = 0
    awaited = wire.READY + wire.UNFIT
    while (frame := wire.read_frame(stream, awaited)) is not None:
        kind, body = frame
        if kind in (wire.UNFIT, wire.PASSED):
            return Compared(count, None, (kind, body))
        if kind == wire.READY:
            awaited = _VALUE_FRAMES + wire.PASSED
            continue
        if count == expected:
            break
        limit_s = cpu_s[count] if cpu_s is not None else None
        mismatch = _mismatch(frame, compare, count, limit_s, over_at_s)
        count += 1
        if mismatch is not None:
            return Compared(count, mismatch[:500], (b"", b""))
    return Compared(count, None, (b"", b""))


def _mismatch(
    frame: Frame, compare: Compare, number: int, limit_s: float | None, over_at_s: float
) -> str | None:
    """Return what is wrong with one value, None for one that is right."""
    left_s = over_at_s - time.process_time()
    if left_s <= 0:
        return _TOO_LONG
    bound_s = min(left_s, max(limit_s or 0.0, _LEAST_CPU_S))
    # The second timer ends this process where a comparison in C does not listen.
    signal.setitimer(signal.ITIMER_VIRTUAL, bound_s + _LAST_WORD_S)
    try:
        signal.setitimer(signal.ITIMER_PROF, bound_s)
        try:
            value = call_value(frame, limit_s)
            assert value is not None, "the frame is a value's"
            return compare(number, value)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
    except _OverTimeError:
        return _TOO_LONG
    except MemoryError:
        return "the value takes too much memory to be compared"
    except Exception as error:  # of a value that has no truth, an array's say
        return f"cannot be compared: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
