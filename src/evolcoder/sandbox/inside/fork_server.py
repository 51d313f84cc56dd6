"""The fork server: one packet and its descriptors in, one contained child, one packet out.

Single-threaded, one program at a time. It never reads what a descriptor holds, so nothing of a program is
in the memory that the next one inherits.
"""

from __future__ import annotations

import _socket
import ctypes
import fcntl
import gc
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, NoReturn

from evolcoder.sandbox.inside import tree, wire
from evolcoder.sandbox.inside.isolation import Bounds, IsolationError, Isolator

_FIRST_LOOK_MS = 20
_LOOK_EVERY_S = 0.05
_SHORTEST_LOOK_S = 0.004
_CLOCK_ERROR_S = 0.02
_MAX_DESCRIPTORS = 8
_FIRST_FREE = 3
_OWN_DESCRIPTORS = 64
_PREPARED_KEPT = 256
_LONGEST_EXTENSION = 3.0
_STAY = (wire.TESTER, wire.ONE_TESTER)
_LARGEST_IN_POOLS, _MOST_IN_POOLS = 512, 1000
_POOL_BYTES, _POOL_HEAD_BYTES = 1 << 14, 48
_EMPTY_BYTES = sys.getsizeof(b"")
_filling: list[object] = []
_UNUSED = tree.TreeUse(0.0, 0, 0.0)


def serve(
    control: _socket.socket,
    isolator: Isolator,
    clock: tree.TreeClock,
    runners: Mapping[int, Callable[[], None]],
    namespaces: bool,
) -> NoReturn:
    """Answer requests until the scorer is gone."""
    # Descriptors that arrive are numbered from the first free one: those of a program's channels start there.
    control = _socket.socket(fileno=_moved(control.detach()))
    if clock.fd >= 0:
        clock.fd = _moved(clock.fd)
    complaints_read, complaints_write = map(_moved, os.pipe2(os.O_NONBLOCK))
    prepared: dict[bytes, tuple[Callable[[], None], Bounds]] = {}
    poll_complaints = select.poll()
    poll_complaints.register(complaints_read, select.POLLIN)
    infrastructure = frozenset(int(name) for name in os.listdir("/proc") if name.isdigit())
    processors = len(isolator.processors)
    # Programs import nothing of the harness. Done here, not in the child: looking through all modules there
    # would touch, and so copy, the pages of every name.
    for name in [name for name in sys.modules if name.partition(".")[0] == "evolcoder"]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()
    _fill_pools()
    if trim := getattr(ctypes.PyDLL(None), "malloc_trim", None):  # glibc's
        trim(0)  # every page that is here is mapped into every child, what is free in it too
    control.send(b"ready")
    poller = select.poll()
    poller.register(control.fileno(), select.POLLIN)
    register, poll, unregister, pidfd_open = poller.register, poller.poll, poller.unregister, os.pidfd_open
    clone, monotonic, wait4, close = isolator.clone, time.monotonic, os.wait4, os.close
    clock_began = clock.read()
    descriptor = struct.Struct("=i")
    room = _socket.CMSG_SPACE(_MAX_DESCRIPTORS * descriptor.size)
    while True:
        request, ancillary, _, _ = control.recvmsg(256, room, _socket.MSG_CMSG_CLOEXEC)
        received = []
        for _, _, data in ancillary:
            for (fd,) in descriptor.iter_unpack(data):
                received.append(fd)
        if not request:
            os._exit(0)
        if request == b"K":  # of a program that ended before the word came
            continue
        kind = request[0]
        if request not in prepared:
            _, cpu_s, wall_s, memory, processes, disk, flags = wire.REQUEST.unpack(request)
            bounds = Bounds(cpu_s, wall_s, memory, processes, disk, not flags & wire.NO_ADDRESS_LIMIT)
            if len(prepared) >= _PREPARED_KEPT:
                prepared.clear()
            if received != list(range(_FIRST_FREE, _FIRST_FREE + len(received))):
                raise RuntimeError(f"descriptors {received} came where they were not expected")
            first = 0 if kind in (wire.STDIO, wire.EXEC) else _FIRST_FREE
            moves = [(_FIRST_FREE + i, first + i) for i in range(len(received))]
            prepared[request] = (
                isolator.prepared(bounds, moves, complaints_write, stays=kind in _STAY),
                bounds,
            )
        enter, bounds = prepared[request]
        started = monotonic()
        try:
            pid = clone()
        except (IsolationError, OSError) as error:
            control.send(b"!" + str(error).encode())
            for fd in received:
                close(fd)
            continue
        if pid == 0:
            # Runs nothing of the program's before all of `enter` is done.
            enter()
            _run(runners[kind])
        # Each page that this process touches from here on is copied, or was write-protected for a child: most
        # children end soon, so wait for that first, and do little after it.
        pidfd = pidfd_open(pid)
        register(pidfd, select.POLLIN)
        events = poll(_FIRST_LOOK_MS)
        for fd in received:
            close(fd)
        seen = _NOTHING_SEEN
        if len(events) != 1 or events[0][0] != pidfd:
            child = _Watched(pid, pidfd, bounds, started, clock_began)
            seen = _watch(control, child, clock, poller, events, infrastructure, processors, namespaces)
        unregister(pidfd)
        close(pidfd)
        own_limit = seen.why == wire.ENDED and _ended_at_own_limit(pid, bounds)
        _, status, used = wait4(pid, 0)
        if not namespaces:
            _kill_group(pid)
        wall_s = monotonic() - started
        now = clock.read()  # and where the next program begins: between two nothing runs but this process
        cpu_s = max(used.ru_utime + used.ru_stime, seen.cpu_s)
        cpu_s = _with_unseen(cpu_s, now - clock_began, pid, namespaces)
        clock_began = now
        why = seen.why
        if own_limit or (cpu_s > bounds.cpu_s and (why == wire.ENDED or why == wire.KILLED_ASKED)):
            why = wire.KILLED_CPU
        peak = max(used.ru_maxrss << 10, seen.peak_bytes)
        reply = wire.REPLY.pack(status, why, cpu_s, wall_s, peak, seen.starved_s)
        if poll_complaints.poll(0):
            reply = b"!" + os.read(complaints_read, 4096)
        control.send(reply)


def _fill_pools() -> None:
    # Python's allocator gives out what is free in half-full pools, wherever they lie, and a child copies each
    # page of which it is given something. Once they are full, what is made lies together in new pools.
    for size in range(16, _LARGEST_IN_POOLS + 1, 16):
        make = object if size == 16 else complex if size == 32 else partial(bytes, size - _EMPTY_BYTES)
        for _ in range(_MOST_IN_POOLS):
            _filling.append(make())
            if id(_filling[-1]) % _POOL_BYTES == _POOL_HEAD_BYTES:  # the first of a new pool
                break


def _moved(fd: int) -> int:
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OWN_DESCRIPTORS)
    os.close(fd)
    return high


def _run(runner: Callable[[], None]) -> NoReturn:
    try:
        runner()
    finally:
        os._exit(70)


class _Watched(NamedTuple):
    """The child that runs a program."""

    pid: int
    pidfd: int
    bounds: Bounds
    started: float
    clock_began: float


class _Seen(NamedTuple):
    """What was seen of a program while it ran, and why it was ended."""

    why: int
    cpu_s: float
    starved_s: float
    peak_bytes: int


_NOTHING_SEEN = _Seen(wire.ENDED, 0.0, 0.0, 0)


def _watch(
    control: _socket.socket,
    child: _Watched,
    clock: tree.TreeClock,
    poller: select.poll,
    events: list[tuple[int, int]],
    infrastructure: frozenset[int],
    processors: int,
    namespaces: bool,
) -> _Seen:
    """Hold a child to its bounds until it ends; `events` are what the poller has said of it so far."""
    pid, pidfd, bounds, started, clock_began = child
    wall_end = started + bounds.wall_s
    why, use, watch, starved_s = wire.ENDED, _UNUSED, None, 0.0
    while True:
        ready = dict(events)
        if pidfd in ready:
            break
        if control.fileno() in ready:
            if control.recv(16):
                why = wire.KILLED_ASKED
                break
            os._exit(0)  # the scorer is gone; the container dies with this process
        now = time.monotonic()
        watch = watch or tree.TreeWatch(infrastructure, bounds.memory_bytes, namespaces)
        use = watch.read()
        cpu_s = _with_unseen(use.cpu_s, clock.read() - clock_began, pid, namespaces)
        starved_s = max(0.0, use.starved_s - (cpu_s - use.cpu_s))  # it waits for what is unseen of it too
        if cpu_s > bounds.cpu_s:
            why = wire.KILLED_CPU
        elif use.memory_bytes > bounds.memory_bytes:
            why = wire.KILLED_MEMORY
        elif now >= wall_end:
            # Time spent waiting for a processor is the machine's, not the program's; but all has an end.
            wall_end = started + min(bounds.wall_s + starved_s, _LONGEST_EXTENSION * bounds.wall_s)
            if now >= wall_end:
                why = wire.KILLED_WALL
        if why:
            break
        # A tree burns at most one second a processor and second: look again when it could be over.
        soonest = max(_SHORTEST_LOOK_S, (bounds.cpu_s - use.cpu_s) / processors)
        pause = min(now + min(_LOOK_EVERY_S, soonest), wall_end) - time.monotonic()
        events = poller.poll(max(0.0, pause) * 1000 + 0.5)
    if why:
        _kill(pidfd, pid, namespaces)
    return _Seen(why, use.cpu_s, starved_s, watch.peak_bytes if watch else 0)


def _with_unseen(seen_s: float, clock_s: float, pid: int, namespaces: bool) -> float:
    # The kernel counts one process to the nanosecond; what made others may have hidden some.
    hidden = clock_s > tree.STOLEN * seen_s + _CLOCK_ERROR_S and namespaces
    return clock_s if hidden and tree.last_process() != str(pid).encode() else seen_s


def _ended_at_own_limit(pid: int, bounds: Bounds) -> bool:
    """Whether the kernel ended a process at a limit of CPU time that it had set itself."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if ended is None or (ended.si_code, ended.si_status) != (os.CLD_KILLED, signal.SIGKILL):
        return False
    with open(f"/proc/{pid}/limits", "rb") as file:
        hard = next(line for line in file if line.startswith(b"Max cpu time")).split()[4]
    return hard != b"unlimited" and int(hard) < bounds.most_cpu_s


def _kill(pidfd: int, pid: int, namespaces: bool) -> None:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    if not namespaces:
        _kill_group(pid)


def _kill_group(pid: int) -> None:
    # Only where there is no process namespace (`--unsafe`): the program leads a session and group of its own.
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
