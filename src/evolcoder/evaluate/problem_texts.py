"""Benchmark problems as decontamination compares them."""

from __future__ import annotations

from collections.abc import Iterable

from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.records import ProblemText


def problem_texts(benchmarks: Iterable[str]) -> list[ProblemText]:
    """Return the problems of benchmarks by name, each once ("mbpp" with its development set).

    Raises UserError for an unknown benchmark, DataError where its data is missing.
    """
    texts = (text for name in benchmarks for text in load_benchmark(name).texts())
    return list({(text.benchmark, text.task_id): text for text in texts}.values())
