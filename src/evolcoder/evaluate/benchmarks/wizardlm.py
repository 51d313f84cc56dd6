"""WizardLM's test set (arXiv 2304.12244): 218 instructions of 29 skills, of difficulty 1 to 10."""

from __future__ import annotations

from typing import Any

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.records import Problem

DATA = DataFile(
    "wizardlm-testset/WizardLM_testset.jsonl",
    "e216ec20538a7040b908f654f1f767305460f0a71f01b3db9f3989c8a78f8245",
    "https://raw.githubusercontent.com/nlpxucan/WizardLM/main/WizardLM/data/WizardLM_testset.jsonl",
)
_SET = NamedSet("wizardlm", 1, 218, size=218, licence="CC-BY-NC-4.0", measure="win rate", files=(DATA,))
NAMES = {"wizardlm": _SET}
HARD = 8
"""From this difficulty on an instruction is hard; the paper counts those apart (section 4.3)."""


def load(name: str) -> Benchmark:
    """Return the test set; raises DataError where its data is missing."""
    return JudgedBenchmark(name, "", tuple(map(_problem, rows_of(DATA, name))))


def _problem(row: dict[str, Any]) -> Problem:
    difficulty = int(row["Difficulty"])
    return Problem(
        *(f"WizardLM/{row['idx']}", "wizardlm", row["Instruction"], "", ""),
        extra={
            "difficulty": difficulty,
            "groups": (
                f"difficulty {HARD} and above" if difficulty >= HARD else f"difficulty below {HARD}",
                row["Skill"],
                f"difficulty {difficulty}",
            ),
        },
    )
