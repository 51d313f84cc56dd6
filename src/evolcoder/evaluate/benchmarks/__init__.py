"""Benchmarks by name. A new one is one file here and one line in `load_benchmark`."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.benchmarks.benchmark import Benchmark

__all__ = ["BENCHMARK_NAMES", "Benchmark", "load_benchmark"]

MULTIPL_E_LANGUAGES = (
    *("cpp", "cs", "go", "java", "jl", "js", "lua", "php"),
    *("py", "r", "rb", "rs", "scala", "sh", "swift", "ts"),
)
"""MultiPL-E's short names of languages."""

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
    *(f"multipl-e:{set_}{key}" for set_ in ("", "humaneval-", "mbpp-") for key in MULTIPL_E_LANGUAGES),
)


def _own_benchmark(path: Path) -> Benchmark:
    """Import a file of the user's and return what its `load()` gives."""
    spec = importlib.util.spec_from_file_location(f"evolcoder_own_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"{path}: no such file; a Python file with a function load() is expected")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    benchmark = module.load() if hasattr(module, "load") else None
    if not isinstance(benchmark, Benchmark):
        raise UserError(f"{path}: a function load() that returns a Benchmark is expected")
    return benchmark


@lru_cache(maxsize=8)
def load_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name; "+" names take a version, as in "humaneval+@v0.1.9".

    A path that ends in .py is a benchmark of the user's own: its function `load()` returns it. Raises
    UserError for an unknown name, DataError where its data is missing or not the published one.
    """
    if name.endswith(".py"):
        return _own_benchmark(Path(name))
    if name not in BENCHMARK_NAMES and name != "mbpp:test":
        known = ", ".join(n for n in BENCHMARK_NAMES if not n.startswith("multipl-e:"))
        known += f", multipl-e:LANGUAGE or multipl-e:mbpp-LANGUAGE ({', '.join(MULTIPL_E_LANGUAGES)})"
        raise UserError(f"benchmark {name!r} is not known{nearest(name, BENCHMARK_NAMES)}: {known}")
    if name.startswith("multipl-e:"):
        from evolcoder.evaluate.benchmarks.multipl_e.problems import load_multipl_e

        return load_multipl_e(name)
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
