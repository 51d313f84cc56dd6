"""The files that commands write where a user says: they replace only what evolcoder wrote itself.

A file is known as evolcoder's own by its content's hash, which is noted in the cache folder when it is
written; one that somebody changed since is his own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evolcoder.cache import cache_folder, forget_oldest, kept_file_hash
from evolcoder.data_files import rows_of_data
from evolcoder.errors import DataError
from evolcoder.runs import check_parents

IsOfTheKind = Callable[[Path], bool]
_HEAD_BYTES = 256
_MOST_NOTES = 10_000
"""Files beyond which the one written longest ago counts as somebody else's."""


def begins_with(*begins: bytes) -> IsOfTheKind:
    """Return the test whether a file begins as outputs of a kind do."""

    def is_of_the_kind(path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES).lstrip().startswith(begins)

    return is_of_the_kind


def holds_rows(column: str | None = None) -> IsOfTheKind:
    """Return the test whether a file holds rows, with this column where one is named."""

    def is_of_the_kind(path: Path) -> bool:
        try:
            row = next((row for _, row in rows_of_data(path)), None)
        except DataError:
            return False
        return row is None or column is None or column in row

    return is_of_the_kind


@contextmanager
def output_file(
    out: Path | None, is_of_the_kind: IsOfTheKind, *inputs: str | Path, overwrite: bool = False
) -> Iterator[None]:
    """Let a command write the file `out`, if any, and note after it that evolcoder wrote it.

    Raises DataError, before anything is done, where `out` is a folder, a link, a device or an input, or a
    file that evolcoder did not write as it stands. With `overwrite` one of this kind is replaced as well.
    """
    if out is not None:
        _check(out, is_of_the_kind, inputs, overwrite)
    yield
    if out is not None:
        _note(out)


def _check(out: Path, is_of_the_kind: IsOfTheKind, inputs: tuple[str | Path, ...], overwrite: bool) -> None:
    check_parents(out)
    if not out.is_symlink() and not out.exists():
        return
    if out.is_symlink() or not out.is_file():
        found = "a link" if out.is_symlink() else "a folder" if out.is_dir() else "a device"
        raise DataError(f"{out}: a file is expected here, found {found}; nothing was changed")
    if any(Path(path).exists() and out.samefile(path) for path in inputs):
        raise DataError(f"{out}: the data itself; another file is expected, nothing was changed")
    if out.stat().st_size == 0 or _note_of(out).exists():
        return
    if not is_of_the_kind(out):
        raise DataError(
            f"{out}: a file of another kind stands there; another is expected, nothing was changed"
        )
    if not overwrite:
        raise DataError(
            f"{out}: stands there, and evolcoder did not write it, or it was changed since; another file or "
            "--overwrite is expected, nothing was changed"
        )


def is_changed(path: Path) -> bool:
    """Whether somebody wrote or edited a file that is to be written."""
    return path.is_file() and path.stat().st_size > 0 and not _note_of(path).exists()


def _note_of(path: Path) -> Path:
    return cache_folder() / "outputs" / kept_file_hash(path)


def _note(path: Path) -> None:
    with suppress(OSError):  # without a cache the next command asks for --overwrite
        note = _note_of(path)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        forget_oldest(note.parent, _MOST_NOTES)
