"""The licence of a source file as an SPDX identifier, and whether it may be trained on.

What the file's own head says counts most, then the licence files of the nearest folder above it, then what
its project file says. This is a record of facts, not legal advice.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evolcoder.licences import UNKNOWN_LICENCE as UNKNOWN

PERMISSIVE = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0"),
        *("NCSA", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
    }
)
"""Licences that ask for no more than that they are named."""
_HEAD = 4000
"""Characters of a file that count as its head."""
_COMMENT = re.compile(r"^\s*(?:#|//|\*|--|;|%)[^\n]*|/\*.*?\*/", re.MULTILINE | re.DOTALL)
_DOCSTRING = re.compile(r"""\A(?:\s|#[^\n]*\n)*[a-zA-Z]{0,2}("{3}|'{3})(.*?)\1""", re.DOTALL)
_LONGEST_LICENCE = 100_000
_EXPRESSION = r"[\w.+()-]+(?:(?:\s+(?:OR|AND|WITH)\s+|/)[\w.+()-]+)*"
_SPDX = re.compile(rf"SPDX-License-Identifier:\s*({_EXPRESSION})", re.IGNORECASE)
_VARIABLE = re.compile(r"""^__licen[sc]e__\s*=\s*["']([^"'\n]+)""", re.MULTILINE)
_LICENCE_FILE = re.compile(r"(?:^|[-_.])(?:un)?licen[sc]es?(?:[-_.]|$)|^copying", re.IGNORECASE)
_OF_OTHERS = re.compile(r"third|3rd|notice|depend", re.IGNORECASE)
_OF_TEXT = re.compile(
    r"[^.]+(?:\.(?:txt|md|markdown|rst|adoc|lesser|mit|apache|gpl|bsd|\d)[^.]*)*", re.IGNORECASE
)
_NAMES_ITS_LICENCE = re.compile(r"licen[sc]e[-_.](?!md$|txt$|rst$)\w|\w[-_.]licen[sc]e", re.IGNORECASE)
UNREAD = "LicenseRef-unknown"
"""What a folder within a code base states in words that are not recognised: somebody else's code."""
# (what a text says, identifier); the first that fits counts, so the special stands before the general.
_TEXTS = tuple(
    (re.compile(pattern.replace(" ", r"[\s#*/;-]+"), re.IGNORECASE), identifier)
    for pattern, identifier in (
        (r"GNU AFFERO GENERAL PUBLIC LICENSE", "AGPL-3.0-or-later"),
        (r"GNU (?:LESSER|LIBRARY) GENERAL PUBLIC LICENSE", "LGPL-2.1-or-later"),
        (r"GNU GENERAL PUBLIC LICENSE Version 2", "GPL-2.0-or-later"),
        (r"GNU GENERAL PUBLIC LICENSE", "GPL-3.0-or-later"),
        (r"Mozilla Public License,? (?:Version|v\.) 2\.0", "MPL-2.0"),
        (r"Eclipse Public License", "EPL-2.0"),
        (r"European Union Public Licence", "EUPL-1.2"),
        (r"Server Side Public License", "SSPL-1.0"),
        (r"Business Source License", "BUSL-1.1"),
        (r"Creative Commons (?:Legal Code )?CC0", "CC0-1.0"),
        (r"Attribution-NonCommercial", "CC-BY-NC-4.0"),
        (r"Apache License,? Version 2\.0", "Apache-2.0"),
        (r"Boost Software License", "BSL-1.0"),
        (r"PYTHON SOFTWARE FOUNDATION LICENSE", "PSF-2.0"),
        (r"This is free and unencumbered software released into the public domain", "Unlicense"),
        (r"Permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"),
        (r"Permission to use, copy, modify, and(?:/or)? distribute this software", "ISC"),
        (r"provided 'as-is', without any express or implied warranty", "Zlib"),
        (r"Neither the name of [\s\S]{1,300}? may be used to endorse", "BSD-3-Clause"),
        (r"Redistribution and use in source and binary forms", "BSD-2-Clause"),
        (r"Attribution-ShareAlike|\bCC\W?BY\W?SA\b", "CC-BY-SA-4.0"),
        (r"\bCC\W?BY\W?N[CD]\b", "CC-BY-NC-4.0"),
        (r"licen[sc]ed?\b[^\n]{0,60}?\bA-?GPL", "AGPL-3.0-or-later"),
        (r"licen[sc]ed?\b[^\n]{0,60}?\bL-?GPL", "LGPL-2.1-or-later"),
        (r"licen[sc]ed?\b[^\n]{0,60}?\bGPL\W{0,3}v?2", "GPL-2.0-or-later"),
        (r"licen[sc]ed?\b[^\n]{0,60}?\bGPL", "GPL-3.0-or-later"),
        (r"all rights reserved\W+(?:unauthori[sz]ed|proprietary|confidential)", "LicenseRef-proprietary"),
    )
)


# Short names, as project files have them.
_SHORT = tuple(
    (re.compile(pattern, re.IGNORECASE), identifier)
    for pattern, identifier in (
        (r"AGPL|affero", "AGPL-3.0-or-later"),
        (r"LGPL|lesser general public", "LGPL-2.1-or-later"),
        (r"GPL\W{0,3}v?2", "GPL-2.0-or-later"),
        (r"GPL|general public licen", "GPL-3.0-or-later"),
        (r"\bMPL|mozilla public", "MPL-2.0"),
        (r"^(?:the )?MIT\b(?!.*\bor\b)", "MIT"),
        (r"^(?:the )?apache\b", "Apache-2.0"),
        (r"^(?:the )?(?:new |modified |3-clause )?BSD\b", "BSD-3-Clause"),
        (r"^(?:PSF|python software foundation)", "PSF-2.0"),
        (r"^ISC\b", "ISC"),
        (r"unlicense\b|public domain", "Unlicense"),
    )
)


def comments_at_head(text: str) -> str:
    """Return the comments at the beginning of a source file, where it says whose it is and who wrote it."""
    docstring = _DOCSTRING.match(text[: 2 * _HEAD])
    said = [docstring[2]] if docstring else []
    return "\n".join([*said, *(match[0] for match in _COMMENT.finditer(text[:_HEAD]))])


def licence_of_text(text: str) -> str:
    """Return the identifier of a licence's text or of a file's comments; UNKNOWN where none is recognised."""
    if stated := list(dict.fromkeys(match.replace("/", " OR ") for match in _SPDX.findall(text))):
        bracketed = (f"({one})" if " OR " in one else one for one in stated)
        return stated[0] if len(stated) == 1 else " AND ".join(bracketed)
    return next((identifier for pattern, identifier in _TEXTS if pattern.search(text)), UNKNOWN)


def licence_of_name(stated: str) -> str:
    """Return the SPDX expression that a project file's words mean; UNREAD where that is not known."""
    known = {name.lower() for name in PERMISSIVE}
    if re.fullmatch(_EXPRESSION, stated) and ("-" in stated or " " in stated or stated.lower() in known):
        return stated.replace("/", " OR ")
    short = next((identifier for pattern, identifier in _SHORT if pattern.search(stated)), UNKNOWN)
    long = licence_of_text(stated)
    return next((found for found in (long, short) if found != UNKNOWN), UNREAD)


def licence_finder(root: Path) -> Callable[[Path, str], str]:
    """Return a function that tells the licence of a file below `root`, by its path and its text.

    What the root states in words of its own is the user's; what a folder within states so is UNREAD.
    """

    @lru_cache(maxsize=4096)
    def of_folder(folder: Path) -> str:
        found = _licence_beside(folder)
        if folder == root or root not in folder.parents:
            return UNKNOWN if found == UNREAD else found
        return of_folder(folder.parent) if found == UNKNOWN else found

    def of_file(path: Path, text: str) -> str:
        found = licence_of_text(comments_at_head(text))
        if found == UNKNOWN and "SPDX-" in text[_HEAD:]:
            tags = (c[0] for c in _COMMENT.finditer(text) if _SPDX.search(c[0]))
            found = licence_of_text("\n".join(tags))
        if found == UNKNOWN and (named := _VARIABLE.search(text)):
            found = licence_of_name(named[1].strip())
        return of_folder(path.parent) if found == UNKNOWN else found

    return of_file


def is_allowed(licence: str, also: Sequence[str] = ()) -> bool:
    """Return whether code under an SPDX expression may be used: permissive, named in `also`, or not known.

    Of alternatives (OR) one suffices, what is joined (AND) must all be allowed; unknown is the user's own.
    """
    allowed = {name.lower() for name in (*PERMISSIVE, *also, UNKNOWN)}
    while inner := re.search(r"\(([^()]*)\)", licence):  # the innermost first: (MIT OR X) AND Y needs Y
        whole = UNKNOWN if is_allowed(inner[1], also) else "not allowed"
        licence = f"{licence[: inner.start()]}{whole}{licence[inner.end() :]}"
    return any(
        all(part.strip().lower() in allowed for part in re.split(r"\s+AND\s+", alternative))
        for alternative in re.split(r"\s+OR\s+", licence)
    )


def _licence_beside(folder: Path) -> str:
    """Return the licence a folder's files state; files named for theirs (LICENSE-MIT) are a choice."""
    files = [path for path in _plain_files(folder) if _states_a_licence(path.name)]
    files = files or _plain_files(folder / "LICENSES")  # of the REUSE specification
    if not files:
        stated = stated_by_project(folder)
        return licence_of_name(stated) if stated else UNKNOWN
    read = [licence_of_text(_beginning(path)) for path in files]
    found = list(dict.fromkeys(licence for licence in read if licence != UNKNOWN))
    if len(found) < 2:
        return found[0] if found else UNREAD
    chosen = all(_NAMES_ITS_LICENCE.search(path.name) for path in files)
    return (" OR " if chosen else " AND ").join(found)


def _states_a_licence(name: str) -> bool:
    return bool(_LICENCE_FILE.search(name) and _OF_TEXT.fullmatch(name) and not _OF_OTHERS.search(name))


def _plain_files(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _beginning(path: Path) -> str:
    with path.open("rb") as f:
        return f.read(_LONGEST_LICENCE).decode("utf-8", "replace")


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
