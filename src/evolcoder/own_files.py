"""A user's own Python file: its function `load()` returns what takes the place of something of this package.

A benchmark, a set of evolution methods, a stopping rule and a model backend can each be such a file. A
mistake in it is reported as a user's mistake: the file, the line, what Python says.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from evolcoder.errors import EvolcoderError, UserError
from evolcoder.runs import content_hash

_PREFIX = "evolcoder_own_"


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A user's file."""

    path: Path
    hash: str
    """Of the content of the file and of what it imports from its folder."""


def is_own(name: str) -> bool:
    """Whether a name is the path of a user's file."""
    return name.endswith(".py")


def load_own_file(path: Path) -> tuple[Any, OwnFile]:
    """Return what a user's `load()` returns, called again once the file changed; raises UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; a Python file with a function load() is expected")
    return _loaded(path, file_stamp(path))


def own_mistake(error: BaseException) -> UserError | None:
    """Return the line that tells of an exception which a user's file raised; None for any other."""
    files = [str(m.__file__) for name, m in list(sys.modules.items()) if name.startswith(_PREFIX)]
    frames = traceback.extract_tb(error.__traceback__)
    found = next((frame for frame in reversed(frames) if frame.filename in files), None)
    return None if found is None else _mistake(Path(found.filename), found.lineno, error)


def file_stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a Python file of the folder is written."""
    files = sorted({path, *path.parent.glob("*.py")})
    return tuple((file.name, stat.st_mtime_ns, stat.st_size) for file in files for stat in (file.stat(),))


@lru_cache(maxsize=16)
def _loaded(path: Path, stamp: object) -> tuple[Any, OwnFile]:
    place = path.resolve()
    module = ModuleType(f"{_PREFIX}{path.stem}_{content_hash(str(place))[:8]}")
    module.__file__ = str(place)
    try:
        with _importing_from(place.parent) as files:
            sys.modules[module.__name__] = module  # dataclasses look their module up
            exec(compile(place.read_bytes(), place, "exec", dont_inherit=True), module.__dict__)
            value = module.load() if hasattr(module, "load") else None
        sources = sorted((str(f.relative_to(place.parent)), f.read_bytes().hex()) for f in {place, *files})
    except EvolcoderError:
        raise
    except (Exception, SystemExit) as error:
        raise own_mistake(error) or _mistake(path, None, error) from error
    return value, OwnFile(path, content_hash(sources))


@contextmanager
def _importing_from(folder: Path) -> Iterator[set[Path]]:
    """Let imports find modules of a folder; gather their files, and forget them at the end.

    Another file may import modules of the same names. No bytecode is left in the folder, nor is any
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


def _mistake(path: Path, line: int | None, error: BaseException) -> UserError:
    """Return the one line that tells of an exception in a user's file."""
    if isinstance(error, SyntaxError) and error.filename:
        path, line = Path(error.filename), error.lineno
    words = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    where = f"{path}: " if line is None else f"{path}: line {line}: "
    return UserError(f"{where}{type(error).__name__}: {words}"[:1000].removesuffix(": "))
