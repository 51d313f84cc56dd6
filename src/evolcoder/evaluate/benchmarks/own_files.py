"""A user's benchmark: a Python file whose function `load()` returns it.

What the file does wrong is told as a user's mistake: the file, the line, what Python says of it.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from evolcoder.errors import EvolcoderError, UserError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, OwnFile
from evolcoder.records import Problem
from evolcoder.runs import content_hash

_PREFIX = "evolcoder_own_"
_TEXTS = ("task_id", "benchmark", "prompt", "entry_point", "tests", "canonical_solution")


def own_benchmark(path: Path) -> Benchmark:
    """Import a user's file and return its benchmark; raises UserError that names the file and the line."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; a Python file with a function load() is expected")
    return _imported(path, _stamp(path))


def own_mistake(error: BaseException) -> UserError | None:
    """Return the line that tells of an exception which a user's benchmark raised; None for any other."""
    files = [str(m.__file__) for name, m in list(sys.modules.items()) if name.startswith(_PREFIX)]
    frames = traceback.extract_tb(error.__traceback__)
    found = next((frame for frame in reversed(frames) if frame.filename in files), None)
    return None if found is None else _mistake(Path(found.filename), found.lineno, error)


def problem_mistake(path: Path, task_id: str, said: str) -> UserError:
    """Return the error that names a problem of a user's file, and its line where the file spells its id."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    spelt = (f'"{task_id}"', f"'{task_id}'")
    line = next((n for n, text in enumerate(lines, 1) if any(quoted in text for quoted in spelt)), None)
    return UserError(f"{path}: {'' if line is None else f'line {line}: '}problem {task_id}: {said}")


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a Python file of the folder is written."""
    files = sorted({path, *path.parent.glob("*.py")})
    return tuple((file.name, stat.st_mtime_ns, stat.st_size) for file in files for stat in (file.stat(),))


@lru_cache(maxsize=8)
def _imported(path: Path, stamp: object) -> Benchmark:
    place = path.resolve()
    module = ModuleType(f"{_PREFIX}{path.stem}_{content_hash(str(place))[:8]}")
    module.__file__ = str(place)
    try:
        with _importing_from(place.parent) as files:
            sys.modules[module.__name__] = module  # dataclasses look their module up
            exec(compile(place.read_bytes(), place, "exec", dont_inherit=True), module.__dict__)
            benchmark = module.load() if hasattr(module, "load") else None
        sources = sorted((str(f.relative_to(place.parent)), f.read_bytes().hex()) for f in {place, *files})
        if isinstance(benchmark, Benchmark):
            benchmark = replace(benchmark, own=OwnFile(path, content_hash(sources)))
    except EvolcoderError:
        raise
    except (Exception, SystemExit) as error:
        raise own_mistake(error) or _mistake(path, None, error) from error
    if not isinstance(benchmark, Benchmark):
        raise UserError(f"{path}: a function load() that returns a Benchmark is expected")
    _check_problems(path, benchmark)
    return benchmark


@contextmanager
def _importing_from(folder: Path) -> Iterator[set[Path]]:
    """Let imports find modules of a folder; gather their files, and forget them at the end.

    Another benchmark may have modules of the same names. No bytecode is left in the folder, nor is any
    believed that a file changed within the same second has left.
    """
    before, writing = set(sys.modules), sys.dont_write_bytecode
    files: set[Path] = set()
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield files
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writing
        for name in set(sys.modules) - before:
            place = getattr(sys.modules[name], "__file__", None)
            if place and not name.startswith(_PREFIX) and Path(place).is_relative_to(folder):
                files.add(Path(place))
                del sys.modules[name]


def _check_problems(path: Path, benchmark: Benchmark) -> None:
    """Raise UserError for problems that cannot be told apart, are no text, or are never tested."""
    if not isinstance(benchmark.problems, tuple) or not benchmark.problems:
        raise UserError(f"{path}: load() gives no problems; Benchmark.problems is a tuple of Problem")
    seen: set[str] = set()
    for number, problem in enumerate(benchmark.problems, 1):
        if not isinstance(problem, Problem):
            raise UserError(f"{path}: problem number {number}: a Problem is expected, found {problem!r:.60}")
        for name in _TEXTS:
            if not isinstance(value := getattr(problem, name), str):
                said = f"{name}: text is expected, found {value!r:.60}"
                raise problem_mistake(path, str(problem.task_id), said)
        if problem.task_id in seen:
            raise problem_mistake(path, problem.task_id, "two problems have this task_id")
        seen.add(problem.task_id)
        if said := benchmark.mistake_in(problem):
            raise problem_mistake(path, problem.task_id, said)


def _mistake(path: Path, line: int | None, error: BaseException) -> UserError:
    """Return the one line that tells of an exception in a user's file."""
    if isinstance(error, SyntaxError) and error.filename:
        path, line = Path(error.filename), error.lineno
    words = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    where = f"{path}: " if line is None else f"{path}: line {line}: "
    return UserError(f"{where}{type(error).__name__}: {words}"[:1000].removesuffix(": "))
