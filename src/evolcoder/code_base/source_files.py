"""The source files of a code base that may be learnt from; the others are left out by rule and counted.

A code base is a folder or the address of a git repository, which is cloned. Where git keeps the folder, files
that it ignores are not looked at. Links are not followed, and nothing of the code base is executed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from evolcoder.code_base.file_licences import comments_at_head, is_allowed, licence_finder
from evolcoder.errors import DataError, UserError, nearest

SUFFIXES = {
    "python": (".py",), "javascript": (".js", ".mjs", ".cjs", ".jsx"), "typescript": (".ts",),
    "cpp": (".cc", ".cpp", ".cxx", ".hpp", ".hh"), "c": (".c", ".h"), "go": (".go",), "rust": (".rs",),
    "java": (".java",), "php": (".php",), "ruby": (".rb",),
}  # fmt: skip
_LANGUAGE = {suffix: language for language, suffixes in SUFFIXES.items() for suffix in suffixes}
_MOST_FILES = 200_000
"""Files of one code base beyond which none is read."""
_LARGEST_BYTES = 256 << 10
_LONGEST_LINE, _LONGEST_MEAN_LINE = 1000, 160
"""Characters; lines that people write are shorter."""
_VENDORED = re.compile(
    r"_?vendor(?:s|ed)?(?:[-_].*)?|third[-_]?part(?:y|ies)|3rd[-_]?party|externals?|extern|deps|bundled|"
    r"node_modules|bower_components|jspm_packages|godeps|pods|carthage|subprojects|site-packages|dist-packages|"
    r".*\.egg|.*venv.*|(?:virtual)?env\d*|__pycache__|build|dist|target",
    re.IGNORECASE,
)
_VENDORED_FILE = re.compile(
    r"(?:versioneer|ez_setup|distribute_setup|get-pip|six)\.py|(?:jquery|d3|bootstrap|lodash|react|angular|vue)"
    r"\b.*\.js|.*[-.]v?\d+\.\d+(?:\.\d+)?\.js",
    re.IGNORECASE,
)
"""Files that projects copy whole."""
_TESTS = re.compile(
    r"(?:^|/)(?:tests?|testing|__tests__|spec|fixtures|testdata)/|(?:^|/)(?:test_[^/]*|conftest)\.py$"
    r"|[._-](?:test|spec|tests)\.\w+$|(?:Test|Tests|Spec)\.(?:java|php)$"
)
_GENERATED_NAME = re.compile(
    r"_pb2(?:_grpc)?\.py$|\.pb\.(?:go|cc|h)$|[._]g(?:en|enerated)\.\w+$|_generated\.\w+$|[./]designer\.\w+$"
    r"|\.tab\.[ch]$|(?:^|/)(?:lex\.yy\.c|zz_generated\..*|bindata\.go)$|(?:^|/)migrations/\d{4}_\w+\.py$",
    re.IGNORECASE,
)
_GENERATED_TEXT = re.compile(
    r"@generated|do not (?:edit|modify)|(?:auto|machine)[-_ ]?generated|automatically (?:generated|created)"
    r"|^\W*(?:(?:code|files?|contents?|module|parser|form|implementation|class(?:es)?|sources?|bindings?)\s+){0,3}"
    r"generated (?:by|from|automatically)\b|this (?:file|code|module) (?:is|was|has been) generated"
    r"|changes made (?:in|to) this file will be lost|created by:? the resource compiler|\$ANTLR"
    r"|a bison parser, made by|code produced by",
    re.IGNORECASE | re.MULTILINE,
)
_GIT_ADDRESS = re.compile(r"(?:https?|ssh|git|file)://|[\w.-]+@[\w.-]+:")
_GIT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CodeBase:
    """A code base on this machine."""

    name: str
    """The last part of its path or address, by which rows name it: an address may be private."""
    folder: Path
    commit: str
    """The commit that it is at, with "+changes" where files differ from it or may; "" without git."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may be learnt from."""

    code_base: CodeBase
    path: str
    """Relative to the code base, with slashes."""
    language: str
    text: str
    licence: str
    """SPDX expression, NOASSERTION where nobody says."""


@contextmanager
def opened_code_bases(places: Sequence[str]) -> Iterator[list[CodeBase]]:
    """Yield the code bases at folders and git addresses (cloned for the block); UserError for any other."""
    with TemporaryDirectory(prefix="evolcoder-code-") as clones:
        found = [_opened(place, Path(clones) / str(number)) for number, place in enumerate(places)]
        counts = Counter(code_base.name for code_base in found)
        if twice := [name for name, n in counts.items() if n > 1]:
            raise UserError(f"code bases of one name ({', '.join(twice)}): rename a folder")
        yield found


def names_of(code_bases: Sequence[CodeBase]) -> str:
    """Return code bases as a message names them: an address may hold a password."""
    return ", ".join(code_base.name for code_base in code_bases)


def checked_languages(names: Sequence[str]) -> tuple[str, ...]:
    """Return languages by name, all where none is named; raises UserError for one that is not read."""
    for name in names:
        if name not in SUFFIXES:
            known = f"one of {', '.join(SUFFIXES)} is expected"
            raise UserError(f"language {name!r}{nearest(name, SUFFIXES)}: {known}")
    return tuple(names) or tuple(SUFFIXES)


def source_files(
    code_base: CodeBase, languages: Sequence[str], licences: Sequence[str], left_out: Counter[str]
) -> Iterator[SourceFile]:
    """Yield the files of these languages and licences, by path; count in `left_out` why others are not."""
    licence_of = licence_finder(code_base.folder)
    for path in _paths(code_base.folder):
        name = path.relative_to(code_base.folder).as_posix()
        language = _LANGUAGE.get(path.suffix, "")
        if language not in languages:
            left_out["another language"] += 1
            continue
        why, text = _left_out(path, name)
        if not why and not is_allowed(licence := licence_of(path, text), licences):
            why = f"licence {licence}"
        if why:
            left_out[why] += 1
        else:
            yield SourceFile(code_base, name, language, text, licence)


def _left_out(path: Path, name: str) -> tuple[str, str]:
    """Return (the rule that leaves a file out, its text); "" for a rule where none does."""
    if path.is_symlink() or not path.is_file():
        return "no plain file", ""
    if not name.isprintable():
        return "a name that cannot be written", ""
    folders = PurePosixPath(name).parts[:-1]
    if _VENDORED_FILE.fullmatch(path.name) or any(map(_VENDORED.fullmatch, folders)):
        return "vendored", ""
    if _TESTS.search(name):
        return "tests", ""
    if path.stat().st_size > _LARGEST_BYTES:
        return f"over {_LARGEST_BYTES >> 10} KB", ""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return "not UTF-8", ""
    except OSError:
        return "cannot be read", ""
    if "\0" in text:
        return "no text", ""
    lines = text.splitlines()
    if ".min." in path.name or ".bundle." in path.name or max(map(len, lines), default=0) > _LONGEST_LINE:
        return "minified", text
    if lines and len(text) > _LONGEST_MEAN_LINE * len(lines):
        return "minified", text
    if _GENERATED_NAME.search(name) or _GENERATED_TEXT.search(comments_at_head(text)):
        return "generated", text
    return "", text


def _paths(folder: Path) -> list[Path]:
    """Return the files of a folder, those of hidden folders and those that git ignores left out, sorted.

    Raises UserError where git keeps the folder but does not answer: what it ignores may be secret.
    """
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    kept_by_git = any((parent / ".git").exists() for parent in (folder, *folder.parents))
    if not listed and kept_by_git and not _git(folder, "rev-parse", "--git-dir"):
        raise UserError(
            f"{folder}: git keeps it, but does not say which files it ignores; see `git -C {folder} status`"
        )
    found = (folder / name for name in listed.split("\0") if name) if listed else _walked(folder)
    kept = islice((path for path in found if not _hidden(path.relative_to(folder))), _MOST_FILES)
    return sorted(kept)


def _walked(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder; those of a repository of git within it as git lists them, if it does."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [name for name in folders if (Path(parent) / name / ".git").exists()]:
            folders.remove(name)
            try:
                yield from _paths(Path(parent) / name)
            except UserError:
                yield Path(parent) / name  # counted, and not looked into
        if "pyvenv.cfg" in files:
            folders.clear()  # what is installed in an environment
            continue
        yield from (Path(parent) / name for name in sorted(files))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _opened(place: str, clone: Path) -> CodeBase:
    if _GIT_ADDRESS.match(place):
        _clone(place, clone)
        folder, name = clone, re.split(r"[/:]", place.rstrip("/"))[-1].removesuffix(".git")
    else:
        folder = Path(place).resolve()
        name = folder.name
        if not folder.is_dir():
            expected = "a folder or the address of a git repository is expected"
            raise UserError(f"{place}: no such folder; {expected}")
    commit = _git(folder, "rev-parse", "HEAD").strip() if _git(folder, "ls-files", "--", ".") else ""
    if commit and _may_have_changes(folder):
        commit += "+changes"
    return CodeBase(name or "code", folder, commit)


def _clone(address: str, folder: Path) -> None:
    command = ["git", *_SAFELY, "clone", "-q", "--depth", "1", "--no-tags", "--", address, str(folder)]
    try:
        done = subprocess.run(command, env=_environment(), capture_output=True, timeout=_GIT_SECONDS)
    except FileNotFoundError as error:
        raise UserError("a git address needs git, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        told = f"the repository was not cloned within {_GIT_SECONDS} s; clone it yourself"
        raise DataError(told) from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [""]
        # The address may hold a password: it is not repeated.
        raise UserError(f"git cannot clone the repository: {said[-1].replace(address, '...')}")


def _may_have_changes(folder: Path) -> bool:
    """Return whether files differ from the commit, or only the repository's own filters could tell.

    `git status` would start the programs of such filters, and read the settings of submodules.
    """
    filters = _git(folder, "config", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
    if any(line.startswith(("local", "worktree")) for line in filters.splitlines()):
        return True
    asked = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all", "--", ".")
    return bool(_git(folder, *asked))


_SAFELY = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false")
"""A repository's own settings start no program."""


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says of a folder that it keeps; "" where it keeps none, or is not there."""
    command = ["git", *_SAFELY, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, env=_environment(), capture_output=True, timeout=_GIT_SECONDS)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""


def _environment() -> dict[str, str]:
    return {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file"}
