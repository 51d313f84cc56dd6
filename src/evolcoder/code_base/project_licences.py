"""What the project file of a folder says of its licence: in Python, JavaScript, Rust and PHP."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_IN_SETUP = re.compile(r"""\blicen[sc]e\s*=\s*["']?([^"'\n,)]+)""")
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?([^\"'\n]+)")
_LONGEST = 1_000_000


def stated_by_project(folder: Path) -> str:
    """Return the words for the licence in the first project file of a folder that has some; "" for none."""
    for name, read in _FILES.items():
        path = folder / name
        try:
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LONGEST:
                stated = read(path.read_text(encoding="utf-8"), folder)
                if stated.strip():
                    return " ".join(stated.split())[:300]
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
    return ""


def _pyproject(text: str, folder: Path) -> str:
    data = tomllib.loads(text)
    project = data.get("project", {})
    stated = project.get("license") or data.get("tool", {}).get("poetry", {}).get("license")
    if isinstance(stated, Mapping):
        stated = stated.get("text") or _named_file(folder, stated.get("file"))
    classified = _CLASSIFIER.search("\n".join(map(str, project.get("classifiers") or ())))
    return _words(stated) or (classified[1] if classified else "")


def _cargo(text: str, folder: Path) -> str:
    package = tomllib.loads(text).get("package", {})
    return _words(package.get("license")) or _named_file(folder, package.get("license-file"))


def _json(text: str, folder: Path) -> str:
    data = json.loads(text)
    stated = data.get("license") or data.get("licenses")
    listed = stated if isinstance(stated, list) else [stated]
    return " OR ".join(filter(None, map(_words, listed)))


def _setup(text: str, folder: Path) -> str:
    found = _IN_SETUP.search(text) or _CLASSIFIER.search(text)
    return found[1] if found else ""


def _named_file(folder: Path, name: Any) -> str:
    path = folder / str(name)
    inside = isinstance(name, str) and path.resolve().is_relative_to(folder.resolve())
    return path.read_text(encoding="utf-8", errors="replace")[:2000] if inside and path.is_file() else ""


def _words(stated: Any) -> str:
    if isinstance(stated, Mapping):
        stated = stated.get("type") or stated.get("name")
    return stated if isinstance(stated, str) else ""


_FILES: Mapping[str, Callable[[str, Path], str]] = {
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup,
    "setup.py": _setup,
    "package.json": _json,
    "Cargo.toml": _cargo,
    "composer.json": _json,
}
