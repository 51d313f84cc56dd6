"""LiveCodeBench: contest problems, each with its date (Jain et al. 2024, arXiv 2403.07974), code generation.

`livecodebench` is release 6 of the published lite files, `livecodebench@v1` to `@v5` the earlier ones; a
window of dates stands before it: `livecodebench:2024-08-01..2025-02-01@v5`. No checksum of these files is
known here, so the version names theirs. A program reads stdin and writes stdout, or has a method `Solution`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evolcoder.cache import kept_file_hash
from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet, PromptForm, preimport_for
from evolcoder.evaluate.benchmarks.data_files import DataFile, file_of_rows
from evolcoder.evaluate.benchmarks.livecodebench.data import Tests, read_rows, tests_at
from evolcoder.evaluate.benchmarks.livecodebench.programs import ANSWER, AnswerComparison, wrapped
from evolcoder.evaluate.settings import Decoding
from evolcoder.evaluate.styles import Asked
from evolcoder.extraction import Extraction
from evolcoder.records import Problem, ProblemText, Sample, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import BatchComparison, BatchJob, Job, Limits, Outcome

_HUB = "https://huggingface.co/datasets/livecodebench/code_generation_lite/resolve/main/"
_FILES = tuple(f"test{number}.jsonl" for number in ("", 2, 3, 4, 5, 6))
_SIZES = {"v1": 400, "v2": 511, "v3": 612, "v4": 713, "v5": 880, "v6": 1055}
_NEWEST = "v6"
DATA = {
    release: tuple(DataFile(f"livecodebench/{file}", "", _HUB + file) for file in _FILES[:number])
    for number, release in enumerate(_SIZES, 1)
}
"""The files of each release: it adds one to those of the release before."""
_NAMED = {
    release: NamedSet(
        "livecodebench",
        size=size,
        hub_dataset="livecodebench/code_generation_lite",
        dated=True,
        licence="see its card on the hub",
        tier="batch",
        files=DATA[release],
    )
    for release, size in _SIZES.items()
}
NAMES = {
    "livecodebench": _NAMED[_NEWEST],
    **{f"livecodebench@{release}": named for release, named in _NAMED.items()},
}
ASK = (
    "You are an expert Python programmer. You will be given a question (problem specification) and will "
    "generate a correct Python program that matches the specification and passes all tests."
)
WITH_STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose your code "
    "within delimiters."
)
WITH_STDIN = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on "
    "the sample inputs). Enclose your code within delimiters as follows. Ensure that when the python program "
    "runs, it reads the inputs, runs the algorithm and writes output to STDOUT."
)
"""The published prompt's parts, as they stand."""
_LONGEST_S = 300.0
"""CPU seconds of all tests of a problem together."""
_ORACLE_VERSION = 1
"""Raised when the meaning of a verdict changes."""


@dataclass(frozen=True)
class LiveCodeBench(Benchmark):
    """A release of LiveCodeBench."""

    oracles: tuple[str, ...] = ("livecodebench",)
    default_timeout_s: float = 6.0
    """CPU seconds of one test; the published 6 are of wall time."""
    default_memory_bytes: int = 4 << 30
    decoding: Decoding = Decoding(n=10, temperature=0.2, top_p=0.95, max_tokens=2000)  # noqa: RUF009
    """That of the published scores."""
    prompt_form: PromptForm = "prose"

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return how hard the problem is, and where it was set."""
        return problem.extra["difficulty"], problem.extra["platform"]

    def origin(self, problem: Problem) -> str:
        """Return the problem's id, whatever release and window it is in."""
        return f"livecodebench {problem.task_id}"

    def texts(self) -> list[ProblemText]:
        """Return the problems under one name, whatever the release and the window."""
        return [replace(text, benchmark="livecodebench") for text in super().texts()]

    def text(self, problem: Problem) -> str:
        """Return the problem's words, which have its examples."""
        return problem.prompt

    def question(self, problem: Problem) -> str:
        """Return the published question."""
        return f"{ASK}\n\n{_asked(problem)}"

    def instruction(self, problem: Problem) -> str:
        """Return the published question."""
        return self.question(problem)

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have a base model write the block that answers; the published prompt for those is another one."""
        return Asked(f"{self.question(problem)}```python\n", ("\n```",))

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return the program: of several blocks the last, as published, where the user does not say."""
        return super().sample(problem, index, raw, "last" if how == "auto" else how)

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Name the tests: the hash of the files that they lie in stands in the version."""
        return content_hash(_ORACLE_VERSION, oracle, suite, self.version, problem.task_id)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return a batch job with a call a test; `limits.cpu_s` is the limit of one."""
        tests = _tests_of(*problem.extra["place"])
        functional = bool(problem.entry_point)
        total = min(_LONGEST_S, limits.cpu_s * len(tests.inputs)) + 2.0
        comparison = partial(AnswerComparison, tests.outputs, functional)
        return BatchJob(
            program=wrapped(program, problem.entry_point),
            entry_point=ANSWER,
            inputs=tuple(_arguments(text, functional) for text in tests.inputs),
            limits=replace(limits, cpu_s=total, wall_s=1.5 * total + 5.0),
            call_cpu_s=(limits.cpu_s,) * len(tests.inputs),
            stop_at_first_error=True,
            preimport=preimport_for(program),
            comparison=BatchComparison(self.tests_key(problem, oracle, suite), comparison),
        )

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Tell which test failed first."""
        verdict = outcome.verdict
        if outcome.mismatch is None:
            return verdict
        return replace(verdict, detail=f"test {outcome.compared - 1}: {outcome.mismatch}"[:500])


def load(name: str) -> Benchmark:
    """Return a release of LiveCodeBench; raises DataError where a file is missing or not of its form."""
    release = name.partition("@")[2] or _NEWEST
    paths = [file_of_rows(file) for file in DATA[release]]
    problems = [_problem(path, offset, row) for path in paths for offset, row in read_rows(path)]
    twice = len(problems) - len({problem.task_id for problem in problems})
    if not problems or twice:
        raise DataError(
            f"{paths[0].parent}: {twice} problems stand twice" if twice else f"{paths[0]}: no rows"
        )
    digest = content_hash([kept_file_hash(path) for path in paths])[:8]
    return LiveCodeBench("livecodebench", f"{release} {digest}", tuple(problems))


def _problem(path: Path, offset: int, row: dict[str, Any]) -> Problem:
    try:
        metadata = json.loads(row["metadata"] or "{}")
        function = str(metadata.get("func_name") or "")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: problem {row['question_id']}: metadata is no JSON object") from error
    return Problem(
        task_id=row["question_id"],
        benchmark="livecodebench",
        prompt=row["question_content"],
        entry_point=function,
        tests=row["public_test_cases"],
        extra={
            "title": row["question_title"],
            "platform": row["platform"],
            "difficulty": row["difficulty"],
            "date": row["contest_date"][:10],
            "starter_code": row["starter_code"],
            "place": (path, offset),
        },
    )


@lru_cache(maxsize=2)
def _tests_of(path: Path, offset: int) -> Tests:
    return tests_at(path, offset)


def _arguments(text: str, functional: bool) -> tuple[Any, ...]:
    return tuple(json.loads(line) for line in text.split("\n")) if functional else (text,)


def _asked(problem: Problem) -> str:
    starter = problem.extra["starter_code"]
    return (
        f"### Question:\n{problem.prompt}\n\n### Format: {WITH_STARTER if starter else WITH_STDIN}\n"
        f"```python\n{starter or '# YOUR CODE HERE'}\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )
