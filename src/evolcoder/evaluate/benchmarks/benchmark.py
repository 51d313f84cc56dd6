"""What a benchmark is to the scorer: problems, the job that judges a program, and what its outcome means."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.settings import GREEDY, Decoding
from evolcoder.extraction.code_blocks import Extraction, extract
from evolcoder.extraction.grammar import compiled_python
from evolcoder.records import Problem, Sample, Verdict
from evolcoder.sandbox.protocol import Job, Limits, Outcome, Preimport

Tag = TypeVar("Tag")
SampleRows = tuple[Path, Iterator[tuple[int, dict[str, Any]]]]


class JobRunner(Protocol):
    """What judging needs of a sandbox; `evolcoder.sandbox.Sandbox` is one, and so is an engine's pool."""

    def run_many(self, jobs: Iterable[tuple[Tag, Job]], /) -> Iterator[tuple[Tag, Outcome]]:
        """Run jobs as they come; yield each outcome with its job's tag as it ends."""
        ...


@dataclass(frozen=True)
class Benchmark(ABC):
    """A benchmark at one version of its data."""

    name: str
    """As the user writes it, without a version: "humaneval", "mbpp+"."""
    version: str
    """Version of the test data, "" where the benchmark has only one."""
    problems: tuple[Problem, ...]

    oracles: tuple[str, ...] = ()
    """Names of the oracles it can be judged by; the first is the default."""
    suites: tuple[str, ...] = ("base",)
    """Test suites that each give a verdict; a sample passes when all do."""
    default_timeout_s: float = 3.0
    default_memory_bytes: int = 2 << 30
    decoding: Decoding = GREEDY
    """How a model is sampled where the user does not say."""

    @property
    def title(self) -> str:
        """Name and version, as scores show them."""
        return f"{self.name} {self.version}".strip()

    @cached_property
    def by_task(self) -> dict[str, Problem]:
        """The problems by task id."""
        return {problem.task_id: problem for problem in self.problems}

    @cached_property
    def _by_number(self) -> dict[int, list[Problem]]:
        found: dict[int, list[Problem]] = {}
        for problem in self.problems:
            digits = re.findall(r"\d+", problem.task_id.rpartition("/")[2])
            if digits:
                found.setdefault(int(digits[0]), []).append(problem)
        return found

    def find(self, task_id: str | int) -> Problem | None:
        """Return the problem of a task id as files spell it: "HumanEval/0", "HumanEval_0", "0" or 0.

        Raises ValueError where several problems may be meant.
        """
        text = str(task_id)
        if text in self.by_task:
            return self.by_task[text]
        match = re.fullmatch(r"(?:([A-Za-z]+)[/_-])?(\d{1,9})", text)
        if match is None:
            return None
        named = match[1] and match[1].lower()
        fit = [
            problem
            for problem in self._by_number.get(int(match[2]), [])
            if named is None or problem.task_id.split("/")[0].lower() == named
        ]
        if len(fit) > 1:
            named = " or ".join(problem.task_id for problem in fit[:4])
            raise ValueError(f"task id {text!r} may be {named}: write it whole")
        return fit[0] if fit else None

    def checked_oracle(self, oracle: str | None) -> str:
        """Return the oracle's name, the default for None; raises UserError for one this benchmark has not."""
        if oracle is None:
            return self.oracles[0]
        if oracle not in self.oracles:
            known = ", ".join(self.oracles)
            raise UserError(
                f"oracle {oracle!r} cannot judge {self.name}: one of {known} is expected"
                f"{nearest(oracle, self.oracles)}"
            )
        return oracle

    def program(self, problem: Problem, sample: Sample) -> str:
        """Return the whole program that is judged."""
        return sample.program if sample.whole else problem.prompt + sample.program

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return what is judged of a model's answer; `how` names the extraction of its program."""
        program = extract(
            raw, how, entry_point=problem.entry_point, prompt=problem.prompt, benchmark=problem.benchmark
        )
        return Sample(problem.task_id, index, raw, program)

    def sample_rows(self, path: Path) -> list[SampleRows] | None:
        """Return (file, its numbered rows) where this benchmark has sample files of its own; None otherwise.

        Rows have the fields of `sample_files`. Raises DataError for a file that cannot be read.
        """
        return None

    def own_verdicts(self, path: Path) -> dict[str, list[bool]]:
        """Return the verdicts that published sample files carry, by task id; {} where there are none."""
        return {}

    def check_ready(self) -> None:
        """Raise UserError where this machine lacks something that judging needs (a compiler, say)."""
        return

    def further_settings(self) -> dict[str, str]:
        """Return what else names a score of this benchmark, by name (a compiler's version, say)."""
        return {}

    def unfit(self, program: str) -> str | None:
        """Return why a program is not worth running (no Python), None where it is."""
        compiled = compiled_python(program)
        return compiled if isinstance(compiled, str) else None

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return the names of the parts of the benchmark that get a score of their own and hold a problem."""
        return ()

    def family(self, problem: Problem) -> str:
        """Return what names all forms of the same problem; they are one cluster of an interval."""
        return problem.task_id

    def prepare(self, task_ids: Iterable[str], sandbox: JobRunner, suites: Sequence[str] = ()) -> None:
        """Make what judging these problems by these suites (none: all) needs, before the first job."""
        return

    @abstractmethod
    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Return the content hash of all that decides a verdict besides program and limits."""

    @abstractmethod
    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return the job that judges a whole program on one suite."""

    @abstractmethod
    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Return the verdict that a job's outcome means; reason "unsupported" asks for the fallback."""

    @abstractmethod
    def fallback(
        self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base"
    ) -> Job | None:
        """Return the job for a program that the first one could not judge, None where there is none."""

    def judge_fallback(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Return the verdict that the fallback's outcome means."""
        return outcome.verdict


_WORTH_A_LOOK = ("numpy", "pandas", "scipy", "sklearn")
_PANDAS = re.compile(r"\b(?:import|from)\s+pandas\b")
_NUMPY = re.compile(r"\b(?:import|from)\s+(?:numpy|scipy|sklearn)\b")


def preimport_for(program: str) -> Preimport:
    """Return the fork server that a program wants: one that has imported what it imports."""
    if not any(name in program for name in _WORTH_A_LOOK):
        return "plain"
    if _PANDAS.search(program):
        return "scientific"
    return "numpy" if _NUMPY.search(program) else "plain"
