"""A process of its own for each program: namespaces, private folders, no capabilities, limits, a call filter.

Raw system calls through ctypes: Python has no clone, and nothing may be built on the user's machine.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from evolcoder.sandbox.inside import seccomp

_NEW_NAMESPACES: Final = 0x20000000 | 0x08000000 | 0x00020000 | 0x04000000  # PID, IPC, mount, UTS
_CHILD_SETTID, _CHILD_CLEARTID = 0x01000000, 0x00200000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 4, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_TID_ADDRESS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 40, 47, 4
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
_SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}
_CLOSE_RANGE_CALL = 436
_CAPSET_CALL = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
OPEN_FILES = 256
"""Of one process; what sockets hold in the kernel counts against no other limit."""

# PyDLL keeps the interpreter lock: between clone and the child's first Python instruction nothing may run.
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_long = ctypes.c_long


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one program, as the request carries them."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    processes: int
    disk_bytes: int
    address_space: bool


class IsolationError(Exception):
    """The kernel refused a step of the isolation; the program was not run."""


def _check(result: int, step: str) -> int:
    if result < 0:
        raise IsolationError(f"{step}: {os.strerror(ctypes.get_errno())}")
    return result


class Isolator:
    """Everything that can be prepared once in the fork server, so that a child has little left to do."""

    def __init__(self, uid: int, gid: int, namespaces: bool) -> None:
        machine = os.uname().machine
        self._uid, self._gid = uid, gid
        self._namespaces = namespaces
        program = seccomp.filter_program(machine)
        self._filter_code = ctypes.create_string_buffer(program, len(program))
        self._filter = _FilterProgram(len(program) // 8, ctypes.addressof(self._filter_code))
        self._mount = _libc.mount  # looked up here, not in every child
        self._clone_call = seccomp.CLONE_CALL[machine]
        self._seccomp_call = _SECCOMP_CALL[machine]
        self._capset_call = _CAPSET_CALL[machine]
        self._capabilities = [c for c in range(64) if _libc.prctl(_PR_CAPBSET_READ, c, 0, 0, 0) == 1]
        self._no_capabilities = (
            ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)),
            ctypes.create_string_buffer(bytes(24)),
        )
        address = ctypes.c_void_p(0)
        known = _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) == 0
        self._tid_address = int(address.value or 0) if known else 0
        self._aarch64 = machine == "aarch64"
        self._begin: Callable[[], None] = ctypes.pythonapi.PyOS_BeforeFork
        self._in_parent: Callable[[], None] = ctypes.pythonapi.PyOS_AfterFork_Parent
        self._in_child: Callable[[], None] = ctypes.pythonapi.PyOS_AfterFork_Child

    def clone(self) -> int:
        """Fork into new namespaces; returns as fork does. Raises IsolationError where the kernel refuses."""
        if not self._namespaces:
            return os.fork()
        flags = _NEW_NAMESPACES | int(signal.SIGCHLD)
        if self._tid_address:  # glibc keeps the thread's id; a raw clone must renew it
            flags |= _CHILD_SETTID | _CHILD_CLEARTID
        last = (0, self._tid_address) if self._aarch64 else (self._tid_address, 0)
        self._begin()
        pid = _syscall(_long(self._clone_call), _long(flags), _long(0), _long(0), *map(_long, last))
        if pid == 0:
            self._in_child()
            return 0
        error = ctypes.get_errno()
        self._in_parent()
        if pid < 0:
            raise IsolationError(f"clone: {os.strerror(error)}")
        return int(pid)

    def enter(self, bounds: Bounds, descriptors: list[int], complaints: int) -> None:
        """Turn the calling child into a contained process whose descriptors 0..n-1 are `descriptors`.

        What the kernel refuses is written to `complaints`, and the child ends; nothing ran.
        """
        last = len(descriptors)
        try:
            self._take_descriptors([*descriptors, complaints])
            self._contain(bounds)
        except BaseException as error:
            os.write(last, f"{type(error).__name__}: {error}".encode()[:200])
            os._exit(1)
        os.close(last)

    def _contain(self, bounds: Bounds) -> None:
        os.setsid()
        if self._namespaces:
            self._private_folders(bounds.disk_bytes)
            os.chdir("/tmp")
        self._set_limits(bounds)
        self._drop_privileges()
        _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")
        result = _syscall(
            _long(self._seccomp_call),
            _long(_SECCOMP_SET_MODE_FILTER),
            _long(_SECCOMP_FILTER_FLAG_SPEC_ALLOW),
            ctypes.byref(self._filter),
        )
        _check(result, "seccomp")

    def _take_descriptors(self, descriptors: list[int]) -> None:
        # Received descriptors lie above 2 and in no order: move them out of the way before they are placed.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in descriptors]
        for place, fd in enumerate(high):
            os.dup2(fd, place)
        _check(
            _syscall(_long(_CLOSE_RANGE_CALL), _long(len(high)), _long(0x7FFFFFFF), _long(0)), "close_range"
        )

    def _private_folders(self, disk_bytes: int) -> None:
        inodes = max(1024, min(disk_bytes >> 12, 65536))
        options = f"size={disk_bytes},nr_inodes={inodes},mode=1777".encode()
        for folder in (b"/tmp", b"/dev/shm"):
            result = self._mount(b"tmpfs", folder, b"tmpfs", _long(_MS_NOSUID | _MS_NODEV), options)
            _check(result, f"mount {folder.decode()}")
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        # subset=pid: no /proc/sys (writable in part for an unprivileged root), no config.gz, no keys.
        _check(self._mount(b"proc", b"/proc", b"proc", _long(flags), b"subset=pid"), "mount /proc")

    def _set_limits(self, bounds: Bounds) -> None:
        set_limit = resource.setrlimit
        if bounds.address_space:
            set_limit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
        # The fork server decides on CPU time; this stops a process should the server be held up.
        cpu = int(bounds.cpu_s) + 3
        set_limit(resource.RLIMIT_CPU, (cpu, cpu))
        set_limit(resource.RLIMIT_FSIZE, (bounds.disk_bytes, bounds.disk_bytes))
        set_limit(resource.RLIMIT_NPROC, (bounds.processes, bounds.processes))
        set_limit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        set_limit(resource.RLIMIT_CORE, (0, 0))
        set_limit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))
        set_limit(resource.RLIMIT_MSGQUEUE, (0, 0))

    def _drop_privileges(self) -> None:
        for capability in self._capabilities:
            _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "drop bounding set")
        if self._uid:
            os.setgroups([])
            os.setresgid(self._gid, self._gid, self._gid)
            os.setresuid(self._uid, self._uid, self._uid)
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        header, data = self._no_capabilities
        _check(_syscall(_long(self._capset_call), ctypes.byref(header), ctypes.byref(data)), "capset")
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        # Changing the user made this process undumpable, which its children would inherit.
        _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")
