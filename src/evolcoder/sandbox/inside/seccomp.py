"""The system call filter, written as classic BPF by hand.

A deny list over the calls this table knows (a program may use what a program uses), with ENOSYS for every
call newer than the table: a kernel that learns a new call does not open a door. Numbers: the kernel's
`syscall_64.tbl` (x86-64) and `asm-generic/unistd.h` (aarch64).
"""

from __future__ import annotations

import errno
import struct

NEWEST_CALL = 462  # mseal, Linux 6.10
NAMESPACE_FLAGS = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
USER_NAMESPACE = 0x10000000  # CLONE_NEWUSER
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE_CALL = {"x86_64": 56, "aarch64": 220}
MOUNT_CALL = {"x86_64": 165, "aarch64": 40}
SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
SOCKETPAIR_CALL = {"x86_64": 53, "aarch64": 199}
IOCTL_CALL = {"x86_64": 16, "aarch64": 29}
FCNTL_CALL = {"x86_64": 72, "aarch64": 25}
SETSOCKOPT_CALL = {"x86_64": 54, "aarch64": 208}
MMAP_CALL = {"x86_64": 9, "aarch64": 222}
PRCTL_CALL = {"x86_64": 157, "aarch64": 167}
UNIX_FAMILY = 1
DATAGRAMS = 2  # a bit that SOCK_DGRAM and SOCK_RAW have, SOCK_STREAM and SOCK_SEQPACKET have not
TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
UNCOUNTED_BY_FCNTL = (1024, 1026, 1031)  # F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ
SOCKET_LEVEL = 1  # SOL_SOCKET
# SO_SNDBUF, SO_ATTACH_FILTER, SO_SNDBUFFORCE, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF and _EBPF
UNCOUNTED_BY_SETSOCKOPT = (7, 26, 32, 50, 51, 52)
SCHED_CORE = (62,)  # PR_SCHED_CORE: the other half of a core would stand idle for who asks
MAP_HUGETLB, MAP_ANONYMOUS, MAP_SHARED_BIT = 0x40000, 0x20, 1

# name: (x86-64, aarch64); None where the architecture has no such call.
_ABSENT: dict[str, tuple[int | None, int | None]] = {  # answered ENOSYS: callers fall back
    "clone3": (435, 435),
    "memfd_create": (319, 279),  # memory that no limit counts
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),  # semaphores and messages of System V: memory that no limit counts
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "flock": (73, 32),  # a lock on a file of the system is seen by all programs, and by the host
    "inotify_init": (253, None),  # tells what other programs read
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "io_setup": (206, 0),  # rings that all programs of the machine share a number of
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
_FORBIDDEN: dict[str, tuple[int | None, int | None]] = {  # answered EPERM
    "unshare": (272, 97),
    "setns": (308, 268),
    "sendmsg": (46, 211),  # descriptors in flight are in no process, and rings of them outlive the program
    "sendmmsg": (307, 269),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "setpriority": (141, 140),  # who gives way to all others waits as if the machine had no time
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "get_kernel_syms": (177, None),
    "query_module": (178, None),
    "nfsservctl": (180, 42),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "vhangup": (153, 58),
    "personality": (135, 92),
    "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262),
    "vmsplice": (278, 75),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "landlock_create_ruleset": (444, 444),
    "lsm_set_self_attr": (460, 460),
}
_NOTHING_TO_DO: dict[str, tuple[int | None, int | None]] = {  # answered as done
    # All that a program writes is in memory. These would have the machine write its own disks back, for as
    # long as that takes and after the program's time is over, or forget what it has read from them.
    "sync": (162, 81),
    "syncfs": (306, 267),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "sync_file_range": (277, 84),
    "fadvise64": (221, 223),
}

_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _ARCH, _ARG0, _ARG1, _ARG2, _ARG3 = 0, 4, 16, 24, 32, 40


def _fail(code: int) -> int:
    return 0x00050000 | code


def filter_program(machine: str, mounts: bool = False) -> bytes:
    """Assemble the filter for `machine` (x86_64 or aarch64); raises KeyError for any other.

    With `mounts` it lets through what the kernel grants to holders of CAP_SYS_ADMIN alone: `mount`, and new
    namespaces other than a user namespace (which would make its owner such a holder).
    """
    column = {"x86_64": 0, "aarch64": 1}[machine]
    rules: dict[int, list[tuple[int, int, int, int]]] = {}
    for table, code in ((_ABSENT, errno.ENOSYS), (_FORBIDDEN, errno.EPERM), (_NOTHING_TO_DO, 0)):
        for numbers in table.values():
            number = numbers[column]
            if number is not None and not (mounts and number == MOUNT_CALL[machine]):
                rules[number] = [(_RETURN, 0, 0, _fail(code))]
    rules[CLONE_CALL[machine]] = [
        (_LOAD, 0, 0, _ARG0),
        (_JSET, 0, 1, USER_NAMESPACE if mounts else NAMESPACE_FLAGS),
        (_RETURN, 0, 0, _fail(errno.EPERM)),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for call in (SOCKET_CALL[machine], SOCKETPAIR_CALL[machine]):
        # No network, the loopback included: its counters and ports would outlive the program. No datagrams:
        # a receiver holds those of senders that are gone, and nothing tells how much that is.
        rules[call] = [
            (_LOAD, 0, 0, _ARG0),
            (_JEQ, 0, 2, UNIX_FAMILY),
            (_LOAD, 0, 0, _ARG1),
            (_JSET, 0, 1, DATAGRAMS),
            (_RETURN, 0, 0, _fail(errno.EAFNOSUPPORT)),
            (_RETURN, 0, 0, _ALLOW),
        ]
    rules[IOCTL_CALL[machine]] = _forbid(_ARG1, TERMINAL_INJECTION)
    rules[PRCTL_CALL[machine]] = _forbid(_ARG0, SCHED_CORE)
    rules[FCNTL_CALL[machine]] = _forbid(_ARG1, UNCOUNTED_BY_FCNTL)
    options = _forbid(_ARG2, UNCOUNTED_BY_SETSOCKOPT)
    rules[SETSOCKOPT_CALL[machine]] = [
        (_LOAD, 0, 0, _ARG1),
        (_JEQ, 0, len(options) - 2, SOCKET_LEVEL),
        *options,
    ]
    # Shared memory without a file keeps its pages when they are unmapped in part; huge pages are in no count.
    rules[MMAP_CALL[machine]] = [
        (_LOAD, 0, 0, _ARG3),
        (_JSET, 2, 0, MAP_HUGETLB),
        (_JSET, 0, 2, MAP_ANONYMOUS),
        (_JSET, 0, 1, MAP_SHARED_BIT),
        (_RETURN, 0, 0, _fail(errno.EPERM)),
        (_RETURN, 0, 0, _ALLOW),
    ]
    header = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JGE, 0, 1, NEWEST_CALL + 1),  # x32 calls carry bit 30 and end here too
        (_RETURN, 0, 0, _fail(errno.ENOSYS)),
    ]
    program = header + _search(sorted(rules), rules)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _forbid(argument: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Refuse a call one of whose arguments is one of `values`; the step before the last allows it."""
    return [
        (_LOAD, 0, 0, argument),
        *((_JEQ, len(values) - i, 0, value) for i, value in enumerate(values)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _fail(errno.EPERM)),
    ]


def _search(
    numbers: list[int], rules: dict[int, list[tuple[int, int, int, int]]]
) -> list[tuple[int, int, int, int]]:
    """Lay the rules out as a binary search, so that a call passes in few steps."""
    if len(numbers) == 1:
        body = rules[numbers[0]]
        return [(_JEQ, 0, len(body), numbers[0]), *body, (_RETURN, 0, 0, _ALLOW)]
    middle = len(numbers) // 2
    low, high = _search(numbers[:middle], rules), _search(numbers[middle:], rules)
    if len(low) < 256:
        return [(_JGE, len(low), 0, numbers[middle]), *low, *high]
    # A conditional jump reaches 255 instructions; an unconditional one (0x05) reaches any.
    return [(_JGE, 0, 1, numbers[middle]), (0x05, 0, 0, len(low)), *low, *high]
