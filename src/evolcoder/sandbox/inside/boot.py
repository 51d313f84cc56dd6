"""The fork server's first steps: what it imports for its children, and what it forgets."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import NoReturn

from evolcoder.sandbox.inside import fork_server, programs, steps, tester, wire
from evolcoder.sandbox.inside.isolation import Isolator

# What programs of the benchmarks import, and what the interpreter itself imports late: loading these once
# saves each program milliseconds. Nothing here changes what a program sees, but for its speed.
_STANDARD = (
    "abc",
    "array",
    "ast",
    "atexit",
    "base64",
    "bisect",
    "cmath",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "encodings.idna",
    "encodings.latin_1",
    "enum",
    "fcntl",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "inspect",
    "io",
    "itertools",
    "json",
    "keyword",
    "linecache",
    "math",
    "numbers",
    "operator",
    "os",
    "queue",
    "random",
    "re",
    "select",
    "signal",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "warnings",
    "weakref",
)
_SCIENTIFIC = ("numpy", "numpy.linalg", "numpy.random", "pandas")


def main(control_fd: int, uid: int, gid: int, namespaces: bool, scientific: bool, site: str) -> NoReturn:
    """Prepare and serve; called once by the bootstrap line that the scorer passes on."""
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    null = os.open("/dev/null", os.O_RDWR)
    programs.fresh_streams()
    sys.path.extend(filter(None, site.split(os.pathsep)))
    _complete_builtins()
    for name in _STANDARD:
        importlib.import_module(name)
    for name in _SCIENTIFIC if scientific else ():
        try:
            importlib.import_module(name)
        except ImportError:  # an optional package
            pass
    if "numpy.random" in sys.modules:  # the random module renews its own state in a child; numpy's does not
        os.register_at_fork(after_in_child=sys.modules["numpy.random"].seed)
    sys.path.insert(0, "/tmp")
    sys.argv[:] = ["main.py"]
    # Symbols are bound once here, not in every child; a program's own children need not inherit that.
    os.environ.pop("LD_BIND_NOW", None)
    if namespaces:
        os.environ["PWD"] = "/tmp"  # where every program starts
    _be_first_to_go()
    isolator = Isolator(uid, gid, namespaces)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    fork_server.serve(
        control,
        isolator,
        {
            wire.STDIO: programs.run_stdio,
            wire.CANDIDATE: programs.run_candidate,
            wire.BATCH: programs.run_batch,
            wire.IN_PROCESS: programs.run_in_process,
            wire.TESTER: tester.run_tester,
            wire.EXEC: steps.run_steps,
        },
        namespaces,
    )


def _be_first_to_go() -> None:
    # Should the machine run out of memory all the same, programs end before anything of the user's.
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")
    except OSError:  # a convenience, no part of the promise
        pass


def _complete_builtins() -> None:
    # `-S` keeps start-up files of the machine out; `exit`, `quit` and `help` are programs' due all the same.
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()
