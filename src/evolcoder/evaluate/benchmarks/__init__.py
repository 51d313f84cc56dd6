"""Benchmarks by name. A new one is one file here and one line in `load_benchmark`."""

from __future__ import annotations

from functools import lru_cache

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.benchmarks.benchmark import Benchmark

__all__ = ["BENCHMARK_NAMES", "Benchmark", "load_benchmark"]

BENCHMARK_NAMES = (
    "humaneval",
    "humaneval+",
    "humaneval+@v0.1.9",
    "humaneval+@v0.1.10",
    "mbpp",
    "mbpp-400",
    "mbpp:train",
    "mbpp:validation",
    "mbpp:prompt",
    "mbpp:all",
    "mbpp:sanitized",
    "mbpp:sanitized-test",
    "mbpp+",
    "mbpp+@v0.1.0",
    "mbpp+@v0.2.0",
    "ds1000",
    "ds1000:insertion",
)


@lru_cache(maxsize=8)
def load_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name; "+" names take a version, as in "humaneval+@v0.1.9".

    Raises UserError for an unknown name, DataError where its data is missing or not the published one.
    """
    if name not in BENCHMARK_NAMES and name != "mbpp:test":
        known = ", ".join(BENCHMARK_NAMES)
        raise UserError(f"benchmark {name!r} is not known{nearest(name, BENCHMARK_NAMES)}: {known}")
    if name == "humaneval":
        from evolcoder.evaluate.benchmarks.humaneval import load_humaneval

        return load_humaneval()
    if name.startswith("ds1000"):
        from evolcoder.evaluate.benchmarks.ds1000 import load_ds1000

        return load_ds1000(name)
    if "+" in name:
        from evolcoder.evaluate.benchmarks.evalplus import load_evalplus

        return load_evalplus(name)
    from evolcoder.evaluate.benchmarks.mbpp import load_mbpp

    return load_mbpp(name)
