"""Environments that some benchmarks are judged in: built from a lock file, found again by name.

An environment is a virtual environment, and a note under the cache folder that says where it is. The note is
written last: without it the environment was not finished.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolcoder.cache import cache_folder
from evolcoder.errors import OutsideError, UserError, nearest
from evolcoder.evaluate.benchmarks.ds1000 import data_sets
from evolcoder.progress import Progress
from evolcoder.runs import content_hash, write_json_whole
from evolcoder.sandbox.protocol import PythonEnvironment

DATA_FOLDER = "ds1000_data"
"""Beside the packages: data sets that libraries would fetch, which no program can."""
PYTHON = "3.11"
"""The newest Python that pandas 1.5 runs under."""


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """What an environment is made of."""

    lock: str
    """Its lock file, a resource of the package: every distribution with its version."""
    preimport: tuple[str, ...]
    """Modules that its programs find loaded."""
    variables: tuple[tuple[str, str], ...] = ()


_LIBRARIES = """
numpy pandas scipy scipy.integrate scipy.interpolate scipy.ndimage scipy.optimize scipy.signal scipy.sparse
scipy.spatial scipy.stats sklearn sklearn.cluster sklearn.datasets sklearn.decomposition sklearn.ensemble
sklearn.feature_extraction.text sklearn.impute sklearn.linear_model sklearn.model_selection sklearn.neighbors
sklearn.pipeline sklearn.preprocessing sklearn.svm sklearn.tree matplotlib.pyplot seaborn PIL.Image torch
statsmodels.api xgboost lightgbm nltk gensim yaml tensorflow
"""
ENVIRONMENTS = {
    "ds1000": EnvironmentSpec(
        lock="ds1000-lock.txt",
        preimport=tuple(_LIBRARIES.split()),
        variables=(
            ("MPLBACKEND", "Agg"),
            ("SEABORN_DATA", f"{{packages}}/{DATA_FOLDER}/seaborn"),
            ("SCIKIT_LEARN_DATA", f"{{packages}}/{DATA_FOLDER}/sklearn"),
            ("CUDA_VISIBLE_DEVICES", ""),
            ("TF_CPP_MIN_LOG_LEVEL", "3"),
            ("TF_ENABLE_ONEDNN_OPTS", "0"),  # rounding then does not depend on the processor
            ("TF_NUM_INTEROP_THREADS", "1"),
            ("TF_NUM_INTRAOP_THREADS", "1"),
        ),
    )
}
"""By the name of the benchmark that needs it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that was built."""

    python: PythonEnvironment
    title: str
    """Python's version, the hash of the lock file, data sets it lacks: part of every verdict's name."""


def find_environment(name: str) -> Environment:
    """Return an environment that was built; raises UserError with the command that builds it."""
    command = f"evolcoder setup {name}"
    try:
        note: dict[str, Any] = json.loads(_note_path(name).read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{name} is judged in an environment of its own, which is not built: {command}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{_note_path(name)}: cannot be read ({error}): {command}") from error
    recipe = ENVIRONMENTS[name]
    if note.get("lock") != _lock_hash(recipe):
        raise UserError(f"the environment of {name} is of another version of evolcoder: {command}")
    missing = [note[key] for key in ("interpreter", "base", "packages") if not Path(note[key]).exists()]
    if missing:
        raise UserError(f"the environment of {name} is gone ({missing[0]} does not exist): {command}")
    python = PythonEnvironment(
        note["interpreter"], note["base"], note["packages"], recipe.preimport, recipe.variables
    )
    without = f", without {', '.join(note['without'])}" if note.get("without") else ""
    return Environment(python, f"Python {note['version']}, {recipe.lock} {note['lock'][:8]}{without}")


def build_environment(name: str, into: Path | None, python: str | None, progress: Progress) -> Environment:
    """Build an environment (3 GB), by uv where that is installed, and note where it is.

    `into` is its folder (None: under the cache folder), `python` an interpreter to use. What is there already
    is kept, so a build that was stopped goes on. Raises UserError where there is no Python of the right
    version or the folder is none of ours, OutsideError where the installer fails.
    """
    if name not in ENVIRONMENTS:
        known = ", ".join(ENVIRONMENTS)
        raise UserError(
            f"there is nothing to set up for {name!r}{nearest(name, ENVIRONMENTS)}: {known} is expected"
        )
    recipe = ENVIRONMENTS[name]
    folder = (into or cache_folder() / "environments" / name).absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise UserError(f"{folder}: not empty and no virtual environment; name a folder of its own")
    uv = shutil.which("uv")
    own = folder / "bin" / "python"
    _note_path(name).unlink(missing_ok=True)
    if not own.exists():
        progress.note(f"make {folder}")
        if python is None and uv is not None:
            _run([uv, "venv", "--python", PYTHON, str(folder)])
        else:
            _run([python or _interpreter(), "-m", "venv", str(folder)])
    found = _facts(own)
    if not found["version"].startswith(f"{PYTHON}."):
        raise UserError(f"{own}: Python {PYTHON} is expected, found {found['version']}")
    with importlib.resources.as_file(_lock(recipe)) as lock:
        progress.note(f"install {len(_requirements(recipe))} packages of {recipe.lock}, about 3 GB")
        if uv is not None:
            _run([uv, "pip", "install", "--python", str(own), "-r", str(lock)])
        else:
            quiet = ["--disable-pip-version-check", "--progress-bar", "off", "-q"]
            _run([str(own), "-m", "pip", "install", *quiet, "-r", str(lock)])
    progress.note("import them once")
    _run([str(own), "-c", f"import {', '.join(recipe.preimport)}"], dict(recipe.variables))
    missing = data_sets.gather(own, Path(found["packages"]) / DATA_FOLDER)
    if missing:
        progress.note(f"out of reach, so that problems with them fail: {', '.join(missing)}")
    write_json_whole(_note_path(name), {**found, "lock": _lock_hash(recipe), "without": missing})
    return find_environment(name)


def _note_path(name: str) -> Path:
    return cache_folder() / "environments" / f"{name}.json"


def _lock(recipe: EnvironmentSpec) -> Any:
    return importlib.resources.files("evolcoder.evaluate.benchmarks") / recipe.lock


def _requirements(recipe: EnvironmentSpec) -> list[str]:
    return [line for line in _lock(recipe).read_text().splitlines() if line and not line.startswith("#")]


def _lock_hash(recipe: EnvironmentSpec) -> str:
    return content_hash(_requirements(recipe))


def _interpreter() -> str:
    """Return a Python of the right version on this machine."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == PYTHON:
        return sys.executable
    found = shutil.which(f"python{PYTHON}")
    if found is None:
        raise UserError(
            f"no Python {PYTHON} on this machine: install it, or uv (pip install uv), which fetches it; "
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
