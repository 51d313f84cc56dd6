"""Benchmark problems as decontamination compares them."""

from __future__ import annotations

from collections.abc import Iterable

from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.records import ProblemText


def problem_texts(benchmarks: Iterable[str]) -> list[ProblemText]:
    """Return the problems of benchmarks by name ("mbpp" with all splits).

    Raises UserError for an unknown benchmark, DataError where its data is missing.
    """
    names = [part for name in benchmarks for part in (("mbpp", "mbpp-400") if name == "mbpp" else (name,))]
    texts: dict[tuple[str, str], ProblemText] = {}
    for name in names:
        family = name.split("-")[0].split(":")[0]
        for problem in load_benchmark(name).problems:
            text = problem.prompt if family.startswith("humaneval") else f"{problem.prompt}\n{problem.tests}"
            texts[family, problem.task_id] = ProblemText(
                family, problem.task_id, text, problem.canonical_solution
            )
    return list(texts.values())
