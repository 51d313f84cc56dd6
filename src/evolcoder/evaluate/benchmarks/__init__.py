"""Benchmarks by name. A new one is one file here, named in `_FILES`; a user's own is a file anywhere.

A file of instructions is one too: a model judges the answers to it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from evolcoder.data_files import SUFFIXES
from evolcoder.errors import UserError, nearest, shortened
from evolcoder.evaluate.benchmarks.benchmark import Benchmark as Benchmark
from evolcoder.evaluate.benchmarks.benchmark import BenchmarkFile, NamedSet
from evolcoder.evaluate.benchmarks.windows import set_within, split_window, within
from evolcoder.own_files import is_own
from evolcoder.records import ProblemText

if TYPE_CHECKING:
    from evolcoder.evaluate.benchmarks.environments import EnvironmentSpec

_FILES = {
    "humaneval": "humaneval",
    "humaneval+": "evalplus",
    "mbpp+": "evalplus",
    "mbpp": "mbpp",
    "mbpp-400": "mbpp",
    "ds1000": "ds1000.problems",
    "multipl-e": "multipl_e.problems",
    "bigcodebench": "bigcodebench.problems",
    "cruxeval": "cruxeval",
    "livecodebench": "livecodebench",
    "wizardlm": "wizardlm",
    "mt-bench": "mt_bench",
    "general-held-out": "instruction_file",
    "gsm8k": "gsm8k",
    "math500": "competition_math",
    "math": "competition_math",
}
"""The file of each name, by what stands before its ":" or "@": only that file is imported."""


@lru_cache(maxsize=1)
def benchmark_names() -> dict[str, NamedSet]:
    """Return the benchmarks of this package by name, with what is known of each before its data is there."""
    return {name: named for module in _modules() for name, named in module.NAMES.items()}


def named_set(name: str) -> NamedSet:
    """Return what a benchmark's name tells; of a user's file, and of a name not known, nothing but itself."""
    if is_file(name):
        return NamedSet(str(Path(name).resolve()))
    base, window = split_window(name)
    module = _module_of(base)
    return NamedSet(name) if module is None else set_within(module.NAMES[base], window)


def is_file(name: str) -> bool:
    """Whether a benchmark's name is the path of a user's file: of Python, or of instructions."""
    return is_own(name) or name.endswith(SUFFIXES)


def load_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name; "+" names take a version, those of dated problems a window (`windows`).

    The path of a .py is a user's own, which its function `load()` returns; that of a data file is the
    benchmark of its instructions. Raises UserError for an unknown name or a mistake in the user's file,
    DataError where data is missing or not the published one.
    """
    if is_own(name):
        from evolcoder.evaluate.benchmarks.own_benchmark import own_benchmark

        return own_benchmark(Path(name))
    if name.endswith(SUFFIXES):
        from evolcoder.evaluate.benchmarks.instruction_file import instruction_file

        return instruction_file(name)
    return _published(name)


@lru_cache(maxsize=8)
def _published(name: str) -> Benchmark:
    base, window = split_window(name)
    if (module := _module_of(base)) is not None:
        return within(module.load(base), name, window)
    raise UserError(
        f"benchmark {shortened(name)!r} is not known{nearest(name, benchmark_names())}: "
        "one that `evolcoder benchmarks` lists, a file.py or a file of instructions is expected"
    )


def problem_texts(benchmarks: Iterable[str]) -> list[ProblemText]:
    """Return the problems of benchmarks by name, each once; raises UserError or DataError as loading does."""
    texts = (text for name in benchmarks for text in load_benchmark(name).texts())
    return list({(text.benchmark, text.task_id): text for text in texts}.values())


def environment_spec(name: str) -> EnvironmentSpec:
    """Return the environment that a benchmark is judged in; raises UserError for one that needs none."""
    known = environment_specs()
    if name not in known:
        raise UserError(
            f"there is nothing to set up for {name!r}{nearest(name, known)}: {', '.join(known)} is expected"
        )
    return known[name]


def environment_specs() -> dict[str, EnvironmentSpec]:
    """Return the environments that benchmarks are judged in, by name."""
    specs: list[Any] = [getattr(module, "ENVIRONMENT", None) for module in _modules()]
    return {spec.name: spec for spec in specs if spec is not None}


def _module_of(name: str) -> BenchmarkFile | None:
    """Return the file of a benchmark of this package; None where no file has this name."""
    file = _FILES.get(re.split("[:@]", name, maxsplit=1)[0])
    module = None if file is None else _module(file)
    return module if module is not None and name in module.NAMES else None


def _modules() -> list[BenchmarkFile]:
    return [_module(file) for file in dict.fromkeys(_FILES.values())]


def _module(file: str) -> BenchmarkFile:
    return cast(BenchmarkFile, importlib.import_module(f"{__name__}.{file}"))
