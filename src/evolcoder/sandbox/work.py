"""The sandbox as work for an execution engine: data that says how a worker opens one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from evolcoder.sandbox.protection import Level
from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.reasons import infrastructure
from evolcoder.sandbox.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class SandboxWork:
    """Runs jobs in a sandbox of the machine that the worker is on."""

    unsafe: bool = False
    """Run programs even where a machine offers no protection."""
    level: Level | None = None
    """Ask for this protection; None: the best that a machine has."""

    @property
    def place(self) -> Literal["core"]:
        """A worker takes up one core."""
        return "core"

    def open(self, slots: int) -> Sandbox:
        """Return a sandbox of `slots` workers; raises SandboxError where the machine offers no protection."""
        return Sandbox(slots, self.unsafe, self.level)

    def label(self, worker: Any) -> str:
        """Return the level of protection."""
        return str(worker.level)

    def set_aside(self, item: Job, reason: str) -> Outcome:
        """Return what is said of a job that could not be run: nothing about its program."""
        return infrastructure(reason, "stdio", "")
