"""The fork server's first steps: what it imports for its children, and what it forgets."""

from __future__ import annotations

import _socket
import ctypes
import importlib
import os
import sys
from typing import NoReturn

from evolcoder.sandbox.inside import fork_server, isolation, programs, steps, tester, tree, wire
from evolcoder.sandbox.inside.isolation import Isolator

# What most programs of the benchmarks import, and what the interpreter itself imports late: loading it once
# saves each program milliseconds. Nothing here changes what a program sees, but for its speed. What few want
# is left out, for every page of the server costs every program: `inspect` and what wants it (dataclasses, so
# none in the server's own modules either) a megabyte, `socket` with its hundreds of named constants another
# (the server's own modules use the `_socket` beneath it).
_STANDARD = """
abc atexit bisect collections collections.abc contextlib copy encodings.latin_1 enum fcntl functools heapq
io itertools keyword linecache math numbers operator os random re select signal string struct textwrap
threading time traceback types typing warnings weakref
"""
_WORTH_INHERITING = 1 << 16
_MADV_DONTNEED, _MADV_COLLAPSE = 4, 25
_HUGE = 1 << 21
_READ_WRITE, _READ_EXECUTE, _PRIVATE_ANONYMOUS, _MAYMOVE_FIXED = 3, 5, 0x22, 3
_MAP_FAILED = (1 << 64) - 1
_DETACH, _NOSUID_NODEV = 2, 6
_NUMPY = ("numpy", "numpy.linalg", "numpy.random")
_FURTHER = {"numpy": _NUMPY, "scientific": (*_NUMPY, "pandas")}


def main(
    control_fd: int, uid: int, gid: int, core: int, namespaces: bool, preimport: str, site: str
) -> NoReturn:
    """Prepare and serve, on processor `core` unless that is negative; called once, by the bootstrap line."""
    control = _socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    null = os.open("/dev/null", os.O_RDWR)
    programs.fresh_streams()
    sys.path.extend(filter(None, site.split(os.pathsep)))
    _complete_builtins()
    for name in _STANDARD.split() if preimport != "nothing" else ("random", "threading"):
        importlib.import_module(name)
    for name in _FURTHER.get(preimport, ()):
        try:
            importlib.import_module(name)
        except ImportError:  # an optional package
            pass
    # Every program starts from the same state of the generators, so that a verdict is the same every time.
    sys.modules["random"].seed(0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)
    sys.path.insert(0, "/tmp")
    sys.argv[:] = ["main.py"]
    # Symbols are bound once here, not in every child; a program's own children need not inherit that.
    os.environ.pop("LD_BIND_NOW", None)
    if namespaces:
        os.environ["PWD"] = "/tmp"  # where every program starts
        # A program is process 1, and no hook renews this after the clone.
        sys.modules["threading"].main_thread()._native_id = 1
    _be_first_to_go()
    rehearsed = (programs, tester) if preimport != "nothing" else ()
    payloads = [module.rehearsal_payload() for module in rehearsed]
    isolator = Isolator(uid, gid, namespaces)
    clock = tree.TreeClock()
    isolator.confine_server(core)
    _join_mappings()
    _interpreter_in_huge_pages()
    _let_children_inherit_mappings()
    for module, payload in zip(rehearsed, payloads, strict=True):
        module.rehearse(payload)
    if rehearsed:
        isolation.rehearse()
    _objects_in_huge_pages()
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    fork_server.serve(
        control,
        isolator,
        clock,
        {
            wire.STDIO: programs.run_stdio,
            wire.CANDIDATE: programs.run_candidate,
            wire.BATCH: programs.run_batch,
            wire.IN_PROCESS: programs.run_in_process,
            wire.TESTER: tester.run_tester,
            wire.ONE_TESTER: tester.run_one_tester,
            wire.EXEC: steps.run_steps,
        },
        namespaces,
    )


def load_libraries(site: str, modules: str, namespaces: bool) -> None:
    """Import an environment's `modules` (separated by commas) once, so that no program pays for them.

    Some write as they load (matplotlib keeps a list of fonts, beside a folder for settings). They get a
    private /tmp for that, which is gone before the first program. Raises ImportError for one missing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if namespaces:
        options = b"size=64m,mode=0700"
        if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_long(_NOSUID_NODEV), options) != 0:
            raise OSError(ctypes.get_errno(), "mount /tmp")
    folders = [folder for folder in site.split(os.pathsep) if folder]
    sys.path.extend(folders)
    for name in modules.split(","):
        importlib.import_module(name)
    for folder in folders:  # the server adds them itself
        sys.path.remove(folder)
    if namespaces and libc.umount2(b"/tmp", _DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount /tmp")


def _be_first_to_go() -> None:
    # Should the machine run out of memory all the same, programs end before anything of the user's.
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")
    except OSError:  # a convenience, no part of the promise
        pass


def _join_mappings() -> None:
    # The linker maps a library in five pieces, and each piece costs every fork. Those that differ by rights
    # alone become one: what is read also executable, what is written no longer sealed. That seal guards
    # against bugs of native code; programs here may run any native code they like.
    libc = ctypes.PyDLL(None)
    with open("/proc/self/maps") as file:
        lines = file.read().splitlines()
    runs: list[_Run] = []
    for line in lines:
        span, rights, at, _, inode, *_ = line.split()
        start, end = (int(part, 16) for part in span.split("-"))
        offset = int(at, 16)
        given = sum(bit for bit, letter in zip((1, 2, 4), "rwx", strict=True) if letter in rights)
        last = runs[-1] if runs else None
        if inode == "0" or rights[3] != "p" or not given & 1:
            continue
        place = start, inode, offset
        follows = last and (last.end, last.inode, last.offset + last.end - last.start) == place
        if last and follows and last.rights | given != 7:
            last.end = end
            last.rights |= given
            last.pieces += 1
        else:
            runs.append(_Run(start, end, inode, offset, given))
    for run in runs:
        if run.pieces > 1:
            libc.mprotect(ctypes.c_void_p(run.start), ctypes.c_size_t(run.end - run.start), run.rights)


class _Run:
    """Neighbouring pieces of one file, mapped as they lie in it."""

    def __init__(self, start: int, end: int, inode: str, offset: int, rights: int) -> None:
        self.start, self.end, self.inode, self.offset, self.rights = start, end, inode, offset, rights
        self.pieces = 1


def _interpreter_in_huge_pages() -> None:
    # The interpreter's code is a quarter of the pages that a child would inherit one by one. A copy of it in
    # huge pages, put where the code was, is inherited by an entry for each 2 MiB.
    if os.uname().machine != "x86_64":  # elsewhere a processor may run old instructions where new ones lie
        return
    libc = ctypes.PyDLL(None)
    libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
    code = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p).value or 0
    blocks = _huge_blocks(code)
    size = len(blocks) * _HUGE
    length, room_size = ctypes.c_size_t(size), ctypes.c_size_t(size + _HUGE)
    room = libc.mmap(None, room_size, _READ_WRITE, _PRIVATE_ANONYMOUS, -1, ctypes.c_long(0))
    if not blocks or room == _MAP_FAILED:
        return
    copy = ctypes.c_void_p(-(-room // _HUGE) * _HUGE)
    ctypes.memmove(copy, blocks.start, size)
    if libc.madvise(copy, length, _MADV_COLLAPSE) == libc.mprotect(copy, length, _READ_EXECUTE) == 0:
        libc.mremap(copy, length, length, _MAYMOVE_FIXED, ctypes.c_void_p(blocks.start))
    libc.munmap(ctypes.c_void_p(room), room_size)


def _objects_in_huge_pages() -> None:
    # To copy and to unmap neighbouring pieces of a huge page costs half as much as single pages do.
    libc = ctypes.PyDLL(None)
    for block in _huge_blocks(id(_objects_in_huge_pages)):
        libc.madvise(ctypes.c_void_p(block), ctypes.c_size_t(_HUGE), _MADV_COLLAPSE)  # Linux 6.1


def _huge_blocks(address: int) -> range:
    """Return where huge pages fit into the mapping that an address lies in."""
    with open("/proc/self/maps") as file:
        spans = [[int(part, 16) for part in line.split()[0].split("-")] for line in file]
    start, end = next((start, end) for start, end in spans if start <= address < end)
    return range(-(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE, _HUGE)


def _let_children_inherit_mappings() -> None:
    # Linux copies the page table of a mapped file into a child only where a page of it was written
    # (vma_needs_copy); otherwise the child faults the interpreter's code in again, page by page, a quarter of
    # all its faults. So write one byte of each over itself; and let go of all pages, for those that the
    # rehearsal needs come back, and the others need not be copied.
    libc = ctypes.PyDLL(None)
    with open("/proc/self/smaps") as file:
        lines = file.read().splitlines()
    heads = [number for number, line in enumerate(lines) if not line.partition(" ")[0].endswith(":")]
    for number, after in zip(heads, [*heads[1:], len(lines)], strict=True):
        span, rights, _, _, inode, *_ = lines[number].split()
        start, end = (int(part, 16) for part in span.split("-"))
        written = not any(line.split() == ["Anonymous:", "0", "kB"] for line in lines[number:after])
        if inode == "0" or rights[1] == "w" or written or end - start < _WORTH_INHERITING:
            continue
        given = 1 | (4 if rights[2] == "x" else 0)
        where = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
        if libc.mprotect(*where, given | 2) == 0:  # refused on some hardened systems
            ctypes.memmove(start, start, 1)
            libc.mprotect(*where, given)
            libc.madvise(*where, _MADV_DONTNEED)


def _complete_builtins() -> None:
    # `-S` keeps start-up files of the machine out; `exit`, `quit` and `help` are programs' due all the same.
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()
