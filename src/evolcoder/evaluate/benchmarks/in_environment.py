"""A benchmark whose programs run in an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.evaluate.environments import Environment, EnvironmentSpec, find_environment


@dataclass(frozen=True)
class BenchmarkInEnvironment(Benchmark):
    """Problems whose programs need the packages of a lock file."""

    spec: ClassVar[EnvironmentSpec]
    """What the environment is made of."""

    @cached_property
    def environment(self) -> Environment:
        """The environment that programs run in; raises UserError where it was not built."""
        return find_environment(self.spec)

    def check_ready(self) -> None:
        """Raise UserError with the command that builds the environment, where it is missing."""
        _ = self.environment

    def further_settings(self) -> dict[str, str]:
        """Return what the environment is: versions decide verdicts."""
        return {"environment": self.environment.title}
