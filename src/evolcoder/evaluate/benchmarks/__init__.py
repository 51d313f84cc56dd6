"""Benchmarks by name. A new one is one file here, named in `_FILES`; a user's own is a file anywhere."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import cast

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, BenchmarkFile, NamedSet
from evolcoder.evaluate.environments import EnvironmentSpec
from evolcoder.own_files import is_own

__all__ = ["Benchmark", "benchmark_names", "environment_spec", "load_benchmark", "named_set"]

_FILES = ("humaneval", "evalplus", "mbpp", "ds1000.problems", "multipl_e.problems")
_SHOWN_NAMES = 16
"""Names of one file that an error lists."""


@lru_cache(maxsize=1)
def benchmark_names() -> dict[str, NamedSet]:
    """Return the benchmarks of this package by name, with what is known of each before its data is there."""
    return {name: named for file in _FILES for name, named in _module(file).NAMES.items()}


def named_set(name: str) -> NamedSet:
    """Return what a benchmark's name tells; of a user's file, and of a name not known, nothing but itself."""
    return benchmark_names().get(name) or NamedSet(str(Path(name).resolve()) if is_own(name) else name)


def load_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name; "+" names take a version, as in "humaneval+@v0.1.9".

    A path that ends in .py is a benchmark of the user's own: its function `load()` returns it. Raises
    UserError for an unknown name or a mistake in the user's file, DataError where data is missing or not the
    published one.
    """
    if is_own(name):
        from evolcoder.evaluate.benchmarks.own_files import own_benchmark

        return own_benchmark(Path(name))
    return _published(name)


@lru_cache(maxsize=8)
def _published(name: str) -> Benchmark:
    for file in _FILES:
        module = _module(file)
        if name in module.NAMES:
            return module.load(name)
    known = "; ".join(_shown(list(_module(file).NAMES)) for file in _FILES)
    raise UserError(f"benchmark {name!r} is not known{nearest(name, benchmark_names())}: {known}")


def environment_spec(name: str) -> EnvironmentSpec:
    """Return the environment that a benchmark is judged in; raises UserError for one that needs none."""
    specs: list[EnvironmentSpec] = [
        module.ENVIRONMENT for module in map(_module, _FILES) if hasattr(module, "ENVIRONMENT")
    ]
    known = {spec.name: spec for spec in specs}
    if name not in known:
        raise UserError(
            f"there is nothing to set up for {name!r}{nearest(name, known)}: {', '.join(known)} is expected"
        )
    return known[name]


def _shown(names: list[str]) -> str:
    few = ", ".join(names[:_SHOWN_NAMES])
    return few if len(names) <= _SHOWN_NAMES else f"{few} and {len(names) - _SHOWN_NAMES} more of this kind"


def _module(file: str) -> BenchmarkFile:
    return cast(BenchmarkFile, importlib.import_module(f"{__name__}.{file}"))
