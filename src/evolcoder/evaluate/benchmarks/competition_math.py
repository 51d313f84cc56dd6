"""MATH: problems of competitions (Hendrycks et al. 2021, arXiv 2103.03874), and MATH-500 of its test split.

`math500` are the 500 test problems of "Let's Verify Step by Step" (arXiv 2305.20050); `math` is the whole
test split, 5,000 problems as their publisher's rows have them (problem, solution, level, type), from a file
of the user's: nobody offers it as one file. The oracle "wizardmath" compares LaTeX in one spelling, then
numbers, then what both mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_and_digest
from evolcoder.evaluate.benchmarks.final_answers import FinalAnswers
from evolcoder.extraction.final_answers import ANSWER_WORDS, last_boxed, written_alike
from evolcoder.records import Problem

DATA = {
    "math500": DataFile(
        "math500/test.jsonl.gz",
        "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
        "https://media.githubusercontent.com/media/openai/prm800k/main/prm800k/math_splits/test.jsonl",
    ),
    "math": DataFile("math/test.jsonl.gz", "", ""),
}
_SET = NamedSet("math", licence="MIT", tier="in-process", measure="accuracy")
NAMES = {
    "math500": replace(_SET, size=500, hub_dataset="HuggingFaceH4/MATH-500", files=(DATA["math500"],)),
    "math": replace(_SET, size=5000, hub_dataset="hendrycks/competition_math", files=(DATA["math"],)),
}


@dataclass(frozen=True)
class CompetitionMath(FinalAnswers):
    """MATH or MATH-500."""

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return the problem's subject and level."""
        return problem.extra["subject"], f"level {problem.extra['level']}"

    def origin(self, problem: Problem) -> str:
        """Return the problem's text, by which both sets know it."""
        return f"math {problem.prompt}"


def load(name: str) -> Benchmark:
    """Return `math500` or `math`; raises DataError where its data is missing or no whole test split."""
    rows, digest = rows_and_digest(DATA[name], name)
    if len(rows) != NAMES[name].size:
        raise DataError(f"{DATA[name].path}: {NAMES[name].size} problems are expected, found {len(rows)}")
    problems = tuple(_problem(number, row, name) for number, row in enumerate(rows))
    version = "" if DATA[name].sha256 else digest[:8]  # no published file: told by its content
    return CompetitionMath(name, version, problems, same=written_alike, symbolic=True)


def _problem(number: int, row: dict[str, Any], name: str) -> Problem:
    if lacks := [field for field in ("problem", "solution", "level") if field not in row]:
        raise DataError(f"{DATA[name].path}: row {number + 1}: {', '.join(lacks)} is missing")
    answer = row.get("answer") or last_boxed(row["solution"])
    if not answer:
        raise DataError(f"{DATA[name].path}: row {number + 1}: its solution has no \\boxed answer")
    return Problem(
        f"{'MATH-500' if name == 'math500' else 'MATH'}/{number}",
        name,
        row["problem"],
        "",
        str(answer),
        f"{row['solution']}\n{ANSWER_WORDS}{answer}",
        {"subject": row.get("subject") or row.get("type"), "level": str(row["level"]).removeprefix("Level ")},
    )
