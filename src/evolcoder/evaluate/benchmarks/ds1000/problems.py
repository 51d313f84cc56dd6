"""DS-1000: 1000 data science problems (Lai et al. 2022, arXiv 2211.11501), judged as its authors do.

A problem's own test code puts the solution into its context, executes both and compares objects that live
(frames, tensors, figures), so program and tests run in one process: the tier is "in-process", contained but
not proof against forging. They run in an environment of their own, which `evolcoder setup ds1000` builds.

`ds1000` asks with completion prompts, `ds1000:insertion` with the insertion prompts of the original format
(845 problems; Matplotlib has none).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet, PromptForm
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.benchmarks.ds1000 import prompts
from evolcoder.evaluate.benchmarks.ds1000.answers import solution_of
from evolcoder.evaluate.benchmarks.ds1000.environment import ENVIRONMENT
from evolcoder.evaluate.benchmarks.in_environment import BenchmarkInEnvironment
from evolcoder.evaluate.environments import find_environment
from evolcoder.evaluate.prompts import Asked
from evolcoder.evaluate.settings import Decoding
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.records import Problem, ProblemText, Sample, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import InProcessJob, Job, Limits, Outcome

DATA = DataFile(
    "ds1000/ds1000.jsonl.gz",
    "26a492838b05f9d030b2f08a5715c6bafecafb601c157da912bf417fd8b0d363",
    "https://raw.githubusercontent.com/xlang-ai/DS-1000/main/data/ds1000.jsonl.gz",
)
INSERTION_DATA = DataFile(
    "ds1000/completion_and_insertion_prompts.jsonl.gz",
    "d249e45f856218f7396ba4005912e8fa36538de7940ad2468854a9f870218478",
    "",
)
_SET = NamedSet(
    "ds1000",
    size=1000,
    licence="CC-BY-SA-4.0",
    tier="in-process",
    files=(DATA,),
    ready=partial(find_environment, ENVIRONMENT),
)
NAMES = {"ds1000": _SET, "ds1000:insertion": replace(_SET, size=845, files=(DATA, INSERTION_DATA))}
_TASK_ID = re.compile(r"(?:ds-?1000[/_-])?(\d{1,4})", re.IGNORECASE)
_PROCESSES = 256
"""Torch and tensorflow start threads, which count as processes."""
_FORMAT = 1
"""Raised when the meaning of a verdict changes."""


@dataclass(frozen=True)
class Ds1000(BenchmarkInEnvironment):
    """DS-1000 with one kind of prompt; the tests are the same."""

    spec = ENVIRONMENT
    oracles: tuple[str, ...] = ("ds-1000",)
    default_timeout_s: float = 60.0
    """CPU seconds; the authors' harness gives 120 of wall time, the slowest reference solution needs 10."""
    default_memory_bytes: int = 6 << 30
    """Address space, of which the libraries take 2 GiB."""
    decoding: Decoding = Decoding(n=40, temperature=0.2, top_p=0.5, max_tokens=1024)  # noqa: RUF009
    prompt_form: PromptForm = "code"

    def find(self, task_id: str | int) -> Problem | None:
        """Return the problem of an id: "DS-1000/17", "ds1000_17", "17" or 17."""
        match = _TASK_ID.fullmatch(str(task_id))
        return self.by_task.get(f"DS-1000/{int(match[1])}") if match else None

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return the problem's library and how it was made from its origin."""
        return problem.extra["library"], problem.extra["perturbation"]

    def family(self, problem: Problem) -> str:
        """Return the problem's origin: its perturbations are no further problems."""
        return f"{problem.extra['library']} {problem.extra['origin']}"

    def origin(self, problem: Problem) -> str:
        """Return the problem's own id, which both kinds of prompts share."""
        return problem.task_id

    def texts(self) -> list[ProblemText]:
        """Return the problems under one name, whatever the kind of prompt."""
        return [replace(text, benchmark="ds1000") for text in super().texts()]

    def instruction(self, problem: Problem) -> str:
        """Return the published prompt."""
        return problem.prompt

    def question(self, problem: Problem) -> str:
        """Ask a chat model for what comes next, or for what stands in the gap."""
        return prompts.answered(problem)

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have the prompt continued, or its gap filled in the format that `preset` names."""
        return Asked(*prompts.continued(problem, preset))

    def sample_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Read the authors' answer files too, whose `code` is the solution."""
        return {"completion": row["code"], **row} if "code" in row else row

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return the solution in an answer; every extraction but "none" follows the authors' marks."""
        solution = raw if how == "none" else solution_of(raw, problem.tests, how)
        return Sample(problem.task_id, index, raw, solution, whole=True)

    def program(self, problem: Problem, sample: Sample) -> str:
        """Return the solution: what the problem's own tests take."""
        return sample.program

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        """Every solution is tried: alone it may be the indented body of a function."""
        return None

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Hash the test code and the environment."""
        return content_hash(oracle, suite, _FORMAT, problem.tests, self.environment.title)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return the test code followed by its call with the solution as text."""
        calls = ["test_execution(code)"]
        if "def test_string(" in problem.tests:
            calls.append("test_string(code)")
        source = "\n".join([problem.tests, f"code = {program!r}", *calls, ""])
        limits = replace(limits, processes=_PROCESSES)
        return InProcessJob(program=source, limits=limits, preimport=self.environment.python)

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Passing means that the tests ran to their end."""
        verdict = outcome.verdict
        if verdict.reason == "failed" and re.match(r"(Syntax|Indentation|Tab)Error\b", verdict.detail):
            return replace(verdict, reason="syntax error")
        return verdict


def load(name: str) -> Benchmark:
    """Return `ds1000` or `ds1000:insertion`; raises DataError where its data is missing."""
    problems = tuple(_problem(row) for row in rows_of(DATA, "ds1000"))
    if name == "ds1000:insertion":
        rows = rows_of(INSERTION_DATA, name)
        with_gap = {row["problem_id"]: row["insertion_prompt"] or "" for row in rows}
        problems = tuple(
            replace(problem, benchmark=name, prompt=prompt)
            for problem in problems
            if "[insert]" in (prompt := with_gap.get(problem.extra["problem_id"], ""))
        )
    return Ds1000(name, "", problems)


def _problem(row: dict[str, Any]) -> Problem:
    metadata = row["metadata"]
    return Problem(
        task_id=f"DS-1000/{metadata['problem_id']}",
        benchmark="ds1000",
        prompt=row["prompt"],
        entry_point="",
        tests=row["code_context"],
        canonical_solution=row["reference_code"],
        extra={
            "problem_id": metadata["problem_id"],
            "library": metadata["library"],
            "perturbation": metadata["perturbation_type"],
            "origin": metadata["perturbation_origin_id"],
        },
    )
