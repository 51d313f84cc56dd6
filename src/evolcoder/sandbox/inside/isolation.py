"""A process of its own for each program: namespaces, private folders, no capabilities, limits, a call filter.

Raw system calls through ctypes: Python has no clone, and nothing may be built on the user's machine.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from evolcoder.sandbox.inside import seccomp

_NEW_NAMESPACES: Final = 0x20000000 | 0x08000000 | 0x00020000 | 0x04000000  # PID, IPC, mount, UTS
_CHILD_SETTID, _CHILD_CLEARTID = 0x01000000, 0x00200000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND = 1, 2, 4, 8, 4096
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 4, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_TID_ADDRESS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 40, 47, 4
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
_SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}
_CLOSE_RANGE_CALL = 436
# name: (x86-64, aarch64)
_CALLS = {
    "mount": (165, 40),
    "chdir": (80, 49),
    "dup3": (292, 24),
    "setsid": (112, 157),
    "prlimit": (302, 261),
    "setgroups": (116, 159),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "capset": (126, 91),
    "prctl": (157, 167),
    "sched_setaffinity": (203, 122),
}
_CAPABILITY_VERSION_3 = 0x20080522
_MOST_ARGUMENTS = 7
"""Of a system call, with its number."""
_MAY_FAIL = "no part of the promise"
_RLIMIT_SIGPENDING = 11
_TIMERS = 1024
"""Of one user, with signals that wait: memory of the kernel's that no other limit counts."""
OPEN_FILES = 256
"""Of one process; what sockets hold in the kernel counts against no other limit."""

# PyDLL keeps the interpreter lock: between clone and the child's first Python instruction nothing may run.
# It makes CPython's own work after a fork needless too (one thread, which holds the lock before and after),
# which is as well: its hooks would touch, and so copy, two hundred pages in every child (0.5 ms).
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_long = ctypes.c_long


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Bounds(NamedTuple):
    """Limits of one program, as the request carries them."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    processes: int
    disk_bytes: int
    address_space: bool

    @property
    def most_cpu_s(self) -> int:
        """Where the kernel stops a process should the fork server, which decides on CPU time, be held up."""
        # It counts in whole ticks, which on a crowded machine run ahead of the time used: 23 for 17.7 s.
        return int(2 * self.cpu_s) + 3


class IsolationError(Exception):
    """The kernel refused a step of the isolation; the program was not run."""


def _check(result: int, step: str) -> int:
    if result < 0:
        raise IsolationError(f"{step}: {os.strerror(ctypes.get_errno())}")
    return result


def _entering(
    steps: Sequence[tuple[str, tuple[int | ctypes.c_long, ...]]], complaints: int, kept: object = None
) -> Callable[[], None]:
    """Return what makes system calls; `kept` is the memory that they read."""
    call = _syscall
    names = [name for name, _ in steps]
    # All of one length, and so side by side in memory; the kernel reads no more of them than it knows.
    calls = [(*arguments, *[0] * (_MOST_ARGUMENTS - len(arguments))) for _, arguments in steps]

    # A child copies each page on which it counts a reference: names are left alone until the kernel refuses.
    def enter(kept: object = kept) -> None:
        for arguments in calls:
            if call(*arguments) < 0:
                name = next(name for name, of in zip(names, calls, strict=True) if of is arguments)
                if name == _MAY_FAIL:
                    continue
                os.write(complaints, f"{name}: {os.strerror(ctypes.get_errno())}".encode())
                os._exit(1)

    return enter


def _argument(number: int) -> int | ctypes.c_long:
    """Return an argument of a system call; a plain number, which is only read, where an int holds it."""
    return number if 0 <= number < 1 << 31 else _long(number)


def rehearse() -> None:
    """Make calls that change nothing as a child makes its own: see `programs.rehearse`."""
    steps = [("nothing", (_CLOSE_RANGE_CALL, 0x7FFFFFFE, 0x7FFFFFFF, 0))] * 16
    for _ in range(16):
        _entering(steps, -1)()


class Isolator:
    """Everything that can be prepared once in the fork server, so that a child has little left to do.

    `confine_server` gives the server itself, and so every child, what none of them needs: no privileges to be
    gained, an empty bounding set, the call filter. The filter leaves `mount` and `clone` into namespaces
    (but user namespaces) to those who hold CAP_SYS_ADMIN: the server does, a program never.
    """

    def __init__(self, uid: int, gid: int, namespaces: bool) -> None:
        machine = os.uname().machine
        self._uid, self._gid = uid, gid
        self._namespaces = namespaces
        self._machine = machine
        self.processors = frozenset(os.sched_getaffinity(0))
        """All that programs may use; the server itself may stay on one."""
        column = {"x86_64": 0, "aarch64": 1}[machine]
        self._calls_by_name = {name: numbers[column] for name, numbers in _CALLS.items()}
        address = ctypes.c_void_p(0)
        known = _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) == 0
        flags = _NEW_NAMESPACES | int(signal.SIGCHLD)
        if known and address.value:  # glibc keeps the thread's id; a raw clone must renew it
            flags |= _CHILD_SETTID | _CHILD_CLEARTID
        tid = address.value or 0 if known else 0
        last = (0, tid) if machine == "aarch64" else (tid, 0)
        self._clone_arguments = tuple(map(_argument, (seccomp.CLONE_CALL[machine], flags, 0, 0, *last)))

    def confine_server(self, core: int) -> None:
        """Take from the calling process, and from all it will start, what no program is to have.

        The process itself stays on processor `core`, unless that is negative. Raises IsolationError where the
        kernel refuses.
        """
        for capability in range(64 if self._namespaces else 0):
            if _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
                _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "drop bounding set")
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        set_limit = resource.setrlimit
        set_limit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        set_limit(resource.RLIMIT_CORE, (0, 0))
        set_limit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))
        set_limit(resource.RLIMIT_MSGQUEUE, (0, 0))
        set_limit(_RLIMIT_SIGPENDING, (_TIMERS, _TIMERS))
        if core in self.processors:
            os.sched_setaffinity(0, {core})
        program = seccomp.filter_program(self._machine, mounts=self._namespaces)
        code = ctypes.create_string_buffer(program, len(program))
        result = _syscall(
            _long(_SECCOMP_CALL[self._machine]),
            _long(_SECCOMP_SET_MODE_FILTER),
            _long(_SECCOMP_FILTER_FLAG_SPEC_ALLOW),
            ctypes.byref(_FilterProgram(len(program) // 8, ctypes.addressof(code))),
        )
        _check(result, "seccomp")

    def clone(self) -> int:
        """Fork into new namespaces; returns as fork does. Raises IsolationError where the kernel refuses."""
        if not self._namespaces:
            return os.fork()
        pid = _syscall(*self._clone_arguments)
        if pid < 0:
            raise IsolationError(f"clone: {os.strerror(ctypes.get_errno())}")
        return int(pid)

    def prepared(
        self, bounds: Bounds, moves: Sequence[tuple[int, int]], complaints: int, stays: bool = False
    ) -> Callable[[], None]:
        """Return what turns a child into a contained process.

        It moves descriptors as `moves` says (from, to), and of the others keeps those below the highest so
        placed. A child that `stays` keeps to the server's processor; others may use all. What the kernel
        refuses is written to `complaints`, and the child ends; nothing ran. All that can be computed is
        computed here, once for all programs of the same bounds: what a child touches it copies.
        """
        kept: list[ctypes.Array[ctypes.c_char]] = []

        def address(data: bytes) -> int:
            kept.append(ctypes.create_string_buffer(data, len(data)))
            return ctypes.addressof(kept[-1])

        calls = list(self._calls(bounds, address))
        if not stays:
            mask = sum(1 << processor for processor in self.processors)
            mask_bytes = mask.to_bytes(-(-mask.bit_length() // 64) * 8, "little")
            moved = self._calls_by_name["sched_setaffinity"], 0, len(mask_bytes), address(mask_bytes)
            calls.append((_MAY_FAIL, moved))
        last = max(to for _, to in moves)
        calls += [("dup3", (self._calls_by_name["dup3"], old, new, 0)) for old, new in moves if old != new]
        calls += [("close_range", (_CLOSE_RANGE_CALL, last + 1, 0x7FFFFFFF, 0))]
        steps = [(name, tuple(map(_argument, arguments))) for name, arguments in calls]
        return _entering(steps, complaints, kept)

    def _calls(
        self, bounds: Bounds, address: Callable[[bytes], int]
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the system calls that contain a program, in order: name for complaints, number, arguments."""
        numbers = self._calls_by_name
        yield "setsid", (numbers["setsid"],)
        if self._namespaces:
            inodes = max(1024, min(bounds.disk_bytes >> 12, 65536))
            options = f"size={bounds.disk_bytes},nr_inodes={inodes},mode=1777\0".encode()
            tmpfs = address(b"tmpfs\0"), _MS_NOSUID | _MS_NODEV, address(options)
            folder, shared_memory = address(b"/tmp\0"), address(b"/dev/shm\0")
            yield "mount /tmp", (numbers["mount"], tmpfs[0], folder, *tmpfs)
            # The same folder once more: a file system costs the kernel more than all else in this list.
            yield "bind /dev/shm", (numbers["mount"], folder, shared_memory, tmpfs[0], _MS_BIND, 0)
            # subset=pid: no /proc/sys (writable in part for an unprivileged root), no config.gz, no keys. And
            # not to be written: who writes to /proc/self/autogroup gives way to all and looks starved.
            flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
            proc = address(b"proc\0"), flags, address(b"subset=pid\0")
            yield "mount /proc", (numbers["mount"], proc[0], address(b"/proc\0"), *proc)
            yield "chdir", (numbers["chdir"], address(b"/tmp\0"))
        limits = {resource.RLIMIT_CPU: bounds.most_cpu_s}
        limits[resource.RLIMIT_FSIZE] = bounds.disk_bytes
        limits[resource.RLIMIT_NPROC] = bounds.processes
        if bounds.address_space:
            limits[resource.RLIMIT_AS] = bounds.memory_bytes
        for limit, value in limits.items():
            pair = address(struct.pack("<QQ", value, value))
            yield "prlimit", (numbers["prlimit"], 0, limit, pair, 0)
        if self._uid:
            yield "setgroups", (numbers["setgroups"], 0, 0)
            yield "setresgid", (numbers["setresgid"], self._gid, self._gid, self._gid)
            yield "setresuid", (numbers["setresuid"], self._uid, self._uid, self._uid)
        header = address(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0))
        yield "capset", (numbers["capset"], header, address(bytes(24)))
        # Changing the user made this process undumpable, which its children would inherit.
        yield "dumpable", (numbers["prctl"], _PR_SET_DUMPABLE, 1, 0, 0, 0)
        yield "die with the server", (numbers["prctl"], _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
