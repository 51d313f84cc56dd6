"""Environments that some benchmarks are judged in: built from a lock file, found again by name.

An environment is a virtual environment, and a note under the cache folder that says where it is. The note is
written last: without it the environment was not finished.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, ClassVar

from evolcoder.cache import cache_folder
from evolcoder.errors import OutsideError, UserError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.progress import Progress
from evolcoder.records import Problem
from evolcoder.runs import OUTPUT_MARK, check_parents, content_hash, write_json_whole
from evolcoder.sandbox.protocol import InProcessJob, Limits, PythonEnvironment


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """What an environment is made of; a benchmark's module has one as `ENVIRONMENT`."""

    name: str
    """Of the benchmark that needs it."""
    lock: Traversable
    """Its lock file: every distribution with its version."""
    python: str
    """Version of Python, such as "3.11"."""
    preimport: tuple[str, ...] = ()
    """Modules that its programs find loaded."""
    variables: tuple[tuple[str, str], ...] = ()
    """Environment variables of its programs; "{packages}" stands for the folder of its packages, "{base}" for
    that of Python's installation."""
    gather: Callable[[Path, Path], list[str]] | None = None
    """Gets further data, given the environment's Python and packages; returns the names of what it lacks."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that was built."""

    python: PythonEnvironment
    title: str
    """Python's version, the hash of the lock file, data sets it lacks: part of every verdict's name."""


def find_environment(spec: EnvironmentSpec) -> Environment:
    """Return an environment that was built; raises UserError with the command that builds it."""
    name = spec.name
    command = f"evolcoder setup {name}"
    try:
        note: dict[str, Any] = json.loads(_note_path(name).read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{name} is judged in an environment of its own, which is not built: {command}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{_note_path(name)}: cannot be read ({error}): {command}") from error
    if note.get("lock") != _lock_hash(spec):
        raise UserError(f"the environment of {name} is of another version of evolcoder: {command}")
    places = (note["interpreter"], note["base"], note["packages"])
    if missing := [place for place in places if not Path(place).exists()]:
        raise UserError(f"the environment of {name} is gone ({missing[0]} does not exist): {command}")
    python = PythonEnvironment(*places, spec.preimport, spec.variables)
    without = f", without {', '.join(note['without'])}" if note.get("without") else ""
    return Environment(python, f"Python {note['version']}, {spec.lock.name} {note['lock'][:8]}{without}")


def build_environment(
    spec: EnvironmentSpec, into: Path | None, python: str | None, progress: Progress
) -> Environment:
    """Build an environment (DS-1000's: 3 GB), by uv where that is installed, and note where it is.

    `into` is its folder (None: under the cache folder), `python` an interpreter to use. What is there already
    is kept, so a build that was stopped goes on. Raises UserError where there is no Python of the right
    version or the folder is none of ours, OutsideError where the installer fails.
    """
    name = spec.name
    folder = (into or cache_folder() / "environments" / name).absolute()
    check_parents(folder)
    mark, own = folder / OUTPUT_MARK, folder / "bin" / "python"
    if folder.exists() and any(folder.iterdir()) and not (mark.exists() or _is_noted(name, folder)):
        raise UserError(
            f"{folder}: not empty, and no environment that evolcoder made; name a folder of its own"
        )
    uv = shutil.which("uv")
    if not own.exists():
        progress.note(f"make {folder}")
        if python is None and uv is not None:
            _run([uv, "venv", "--python", spec.python, str(folder)])
        else:
            _run([python or _interpreter(spec.python), "-m", "venv", str(folder)])
    write_json_whole(mark, {"kind": f"environment of {name}", "files": []})
    _note_path(name).unlink(missing_ok=True)
    found = _facts(own)
    if not found["version"].startswith(f"{spec.python}."):
        raise UserError(f"{own}: Python {spec.python} is expected, found {found['version']}")
    with importlib.resources.as_file(spec.lock) as lock:
        progress.note(f"install {len(_requirements(spec))} packages of {spec.lock.name}")
        if uv is not None:
            _run([uv, "pip", "install", "--python", str(own), "-r", str(lock)])
        else:
            quiet = ["--disable-pip-version-check", "--progress-bar", "off", "-q"]
            _run([str(own), "-m", "pip", "install", *quiet, "-r", str(lock)])
    if spec.preimport:
        progress.note("import them once")
        _run([str(own), "-c", f"import {', '.join(spec.preimport)}"], dict(spec.variables))
    missing = spec.gather(own, Path(found["packages"])) if spec.gather else []
    if missing:
        progress.note(f"out of reach, so that problems with them fail: {', '.join(missing)}")
    write_json_whole(_note_path(name), {**found, "lock": _lock_hash(spec), "without": missing})
    return find_environment(spec)


def _is_noted(name: str, folder: Path) -> bool:
    """Whether an environment was built there before; those of earlier versions bear no mark."""
    try:
        return Path(json.loads(_note_path(name).read_bytes())["packages"]).is_relative_to(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _note_path(name: str) -> Path:
    return cache_folder() / "environments" / f"{name}.json"


def _requirements(spec: EnvironmentSpec) -> list[str]:
    return [line for line in spec.lock.read_text().splitlines() if line and not line.startswith("#")]


def _lock_hash(spec: EnvironmentSpec) -> str:
    return content_hash(_requirements(spec))


def _interpreter(version: str) -> str:
    """Return a Python of the right version on this machine."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise UserError(
            f"no Python {version} on this machine: install it, or uv (pip install uv), which fetches it; "
            "or name one with --python"
        )
    return found


def _facts(python: Path) -> dict[str, str]:
    """Ask an interpreter where it lives."""
    code = (
        "import json, os, platform, sys, sysconfig; print(json.dumps({"
        "'interpreter': os.path.realpath(sys.executable), 'base': os.path.realpath(sys.base_prefix), "
        "'packages': sysconfig.get_path('purelib'), 'version': platform.python_version()}))"
    )
    facts: dict[str, str] = json.loads(_run([str(python), "-I", "-c", code]))
    return facts


def _run(command: list[str], variables: dict[str, str] | None = None) -> str:
    """Run a command of the installer; return what it printed. Raises OutsideError with its last words."""
    environment = {**os.environ, **(variables or {})}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise UserError(f"{command[0]}: cannot be run ({error})") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        last = " ".join(said[-3:])[-600:] or f"exit code {done.returncode}"
        raise OutsideError(
            f"{Path(command[0]).name} failed: {last}. What was installed is kept; the same command continues"
        )
    return done.stdout


def fetch(python: Path, code: str, *arguments: str) -> None:
    """Run code of ours that downloads data for an environment; its caller tells what is missing then."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([str(python), "-c", code, *arguments], capture_output=True, timeout=300, check=False)


_PROCESSES = 256
"""Numerical libraries start threads, which count as processes."""
_FORMAT = 1
"""Raised when the meaning of a verdict changes."""


@dataclass(frozen=True)
class BenchmarkInEnvironment(Benchmark):
    """Problems whose programs need the packages of a lock file."""

    spec: ClassVar[EnvironmentSpec]
    """What the environment is made of."""

    @cached_property
    def environment(self) -> Environment:
        """The environment that programs run in; raises UserError where it was not built."""
        return find_environment(self.spec)

    def check_ready(self) -> None:
        """Raise UserError with the command that builds the environment, where it is missing."""
        _ = self.environment

    def further_settings(self) -> dict[str, str]:
        """Return what the environment is: versions decide verdicts."""
        return {"environment": self.environment.title}

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Hash the test code and the environment."""
        return content_hash(oracle, suite, _FORMAT, problem.tests, self.environment.title)

    def in_one_process(self, program: str, limits: Limits) -> InProcessJob:
        """Return the job of program and tests in the environment."""
        limits = replace(limits, processes=_PROCESSES)
        return InProcessJob(program=program, limits=limits, preimport=self.environment.python)
