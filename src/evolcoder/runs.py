"""Files that are whole or absent, content hashes, and the run folder.

Every file is written under a temporary name in the target's folder, synced, and renamed over the target
(a folder likewise), so that a reader or a resumed run never meets half of one.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import io
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from evolcoder.errors import DataError, OutsideError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
WAIT_FOR_ROOM_S = 120.0
"""How long a disk that takes nothing is tried again, in seconds."""
_TRY_EVERY_S = 1.0
_log = logging.getLogger(__name__)


def content_hash(*parts: Any) -> str:
    """Return 32 hex digits that name `parts` (JSON-serialisable values, str or bytes) by content."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else canonical_json(part)
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


# One encoder for all calls: json.dumps makes one each time, and a run names tens of thousands of contents.
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def canonical_json(value: Any) -> bytes:
    """Return the bytes that `content_hash` takes a value as: to encode once what many hashes share."""
    if type(value) is int:  # for which the encoder takes ten times as long, and most parts are numbers
        return b"%d" % value
    return _canonical(value).encode("utf-8", "surrogatepass")


def file_hash(path: Path) -> str:
    """Return the 32-hex-digit content hash of a file's bytes, read in blocks of 1 MiB."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success sync it and rename it to `path`, on failure remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(path):
        leftover.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # a link that somebody put there would be followed
    try:
        yield partial
        with partial.open("rb") as f:
            os.fsync(f.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in DISK_FULL and error.filename in (None, str(partial)):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


class WaitForRoom:
    """How long to wait for room on a full disk, told once: what is to be written there was paid for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._full_since: float | None = None

    def seconds_after(self, error: OSError) -> float:
        """Return the seconds until the next try; raises `error` where no room would help, OutsideError where
        none came."""
        if error.errno not in DISK_FULL:
            raise error
        now, why = time.monotonic(), os.strerror(error.errno).lower()
        if self._full_since is None:
            self._full_since = now
            _log.warning(
                "%s: cannot be written (%s); tried again for %.0f s", self._path, why, WAIT_FOR_ROOM_S
            )
        elif now - self._full_since >= WAIT_FOR_ROOM_S:
            raise OutsideError(
                f"{self._path}: cannot be written ({why}); every answer that came is in the journal: make "
                "room on the disk, then the same command continues"
            ) from error
        return _TRY_EVERY_S

    def over(self) -> None:
        """Tell that what had to wait is written."""
        if self._full_since is not None:
            self._full_since = None
            _log.warning("%s: can be written again; the run goes on", self._path)


def check_parents(path: Path) -> None:
    """Raise DataError where no file or folder of this name can be made: below a file, on a read-only disk,
    in a file system of the kernel's; OSError for a full one.

    Found out now and not after hours of work, by making a folder there: what a disk says of itself is not
    what it does.
    """
    try:
        there = next(parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink())
        if there.is_dir():
            Path(tempfile.mkdtemp(prefix=".evolcoder-", dir=there)).rmdir()
            return
        why = f"{there} is no folder"
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(path)) from error
        why = str(error.strerror).lower()
    raise DataError(f"{path}: nothing can be written there ({why}); nothing was changed")


_MOST_EDITED_BYTES = 16 << 20
OUTPUT_MARK = ".evolcoder.json"
"""The file in an output folder that says which kind of output it is and which files evolcoder wrote."""
_HASHES = ".evolcoder.hashes"
"""The file beside it with their content; apart, for what was timed is no part of what a model is named by."""


def check_output_folder(path: Path, kind: str, *, overwrite: bool = True) -> None:
    """Raise DataError unless `path` is absent, empty, or holds only what the mark of this kind lists.

    Without `overwrite`, also where somebody changed one of these files, a card for example.
    """
    if not path.name:  # "." and "/": a folder is made whole beside and renamed, so it needs a name
        raise DataError(f"{path}: a folder with a name is expected for the {kind}; nothing was changed")
    check_parents(path)
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir() or path.is_symlink():
        raise DataError(f"{path}: a folder for the {kind} is expected here; nothing was changed")
    found = {file.relative_to(path).as_posix() for file in path.rglob("*") if not _is_folder(file)}
    folders = [file for file in path.rglob("*") if _is_folder(file)]
    if not found and not folders:
        return
    foreign = sorted(found - _files_marked(path, kind)) or sorted(
        f"{folder.relative_to(path).as_posix()}/" for folder in folders if not any(folder.iterdir())
    )
    if foreign:
        raise DataError(
            f"{path}: holds {foreign[0]!r}, which no {kind} of evolcoder wrote; "
            "an empty or new folder is expected, nothing was changed"
        )
    if not overwrite and (changed := _changed_file(path)):
        raise DataError(
            f"{path}: {changed!r} was changed since evolcoder wrote it; another folder or --overwrite is "
            "expected, nothing was changed"
        )


def check_claimed(sign: Path, files: Iterable[Path]) -> None:
    """Raise DataError where one of `files` stands without the `sign` that is left: a journal, a lock."""
    check_parents(sign)
    if sign.exists():
        return
    for file in files:
        if file.exists() or file.is_symlink():
            raise DataError(
                f"{file}: stands there, and no {sign.name} shows that evolcoder made it; another place is "
                "expected, nothing was changed"
            )


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _files_marked(path: Path, kind: str) -> set[str]:
    """Return the files that a folder's mark lists; none where the mark is absent or of another kind."""
    try:
        mark = json.loads((path / OUTPUT_MARK).read_bytes())
        return {OUTPUT_MARK, *map(str, mark["files"])} if mark["kind"] == kind else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _changed_file(path: Path) -> str:
    """Return the name of a file in an output folder that is not as it was written; "" where none is known."""
    if not (path / _HASHES).exists():
        return ""
    hashes = json.loads((path / _HASHES).read_bytes())
    written = (name for name in sorted(hashes) if (path / name).exists())
    return next((name for name in written if file_hash(path / name) != hashes[name]), "")


@contextmanager
def making_folder_whole(path: Path, kind: str) -> Iterator[Path]:
    """Yield an empty temporary folder; on success mark it, sync its files and rename it to `path`.

    An earlier output of the same kind is replaced; raises DataError, before anything is written, where
    `path` holds anything else. Files are readable as the umask says. Leftovers of killed runs are removed.
    """
    check_output_folder(path, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(path):
        if f".{path.name}.replaced." in leftover.name and not path.exists():
            leftover.rename(path)  # killed before the new one stood in its place
        shutil.rmtree(leftover, ignore_errors=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    replaced = path.with_name(f".{path.name}.replaced.{os.getpid()}.partial")
    partial.mkdir()
    mode = partial.stat().st_mode & 0o666
    try:
        yield partial
        files = [file for file in sorted(partial.rglob("*")) if file.is_file()]
        edited = [file for file in files if file.stat().st_size <= _MOST_EDITED_BYTES]  # weights are none
        write_json_whole(
            partial / _HASHES, {file.relative_to(partial).as_posix(): file_hash(file) for file in edited}
        )
        names = [file.relative_to(partial).as_posix() for file in files]
        write_json_whole(partial / OUTPUT_MARK, {"kind": kind, "files": [*names, _HASHES]})
        for file in files:
            file.chmod(mode)
            with file.open("rb") as f:
                os.fsync(f.fileno())
        check_output_folder(path, kind)
        if path.exists():  # out of the way first: it is gone only when the new one stands
            path.rename(replaced)
        partial.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)


def take_lock(path: Path, *, wait: bool = False) -> int:
    """Return a descriptor that holds the lock file `path` until it is closed; the kernel lets go at a death.

    The file holds the id of the process that took it last. It is opened without following a link, and one
    that is anything else is left as it is. Raises BlockingIOError, with the holder, where another process
    holds it and `wait` is false; DataError where `path` is no lock file; OutsideError where it cannot be
    written or the file system has no locks.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o644)
    except OSError as error:
        if path.is_symlink() or path.is_dir():
            raise _no_lock_file(path) from error
        raise OutsideError(f"{path}: the lock file cannot be written ({error.strerror})") from error
    try:
        found = os.fstat(fd)
        # A second name of somebody's file would be written to as well.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > _LOCK_BYTES:
            raise _no_lock_file(path)
        holder = os.pread(fd, _LOCK_BYTES, 0)
        if not re.fullmatch(rb"\d*\n?", holder):
            raise _no_lock_file(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            who = holder.decode().strip() or "unknown"
            raise BlockingIOError(error.errno, f"process {who}") from error
        except OSError as error:
            raise OutsideError(
                f"{path}: the file system offers no locks ({error.strerror}); use a folder on another"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


_LOCK_BYTES = 32


def _no_lock_file(path: Path) -> DataError:
    return DataError(
        f"{path}: a lock file of evolcoder is expected here, found a link or something else; "
        "nothing was changed, move it away"
    )


def _leftovers(path: Path) -> list[Path]:
    """Return the temporary names of `path` whose process, which their name tells, is gone."""
    return [
        leftover
        for leftover in path.parent.glob(f".{path.name}.*.partial")
        if not is_alive(leftover.name.removesuffix(".partial").rpartition(".")[2])
    ]


def is_alive(pid: int | str) -> bool:
    """Whether a process of this id works on, on this machine; False for what is no id."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def sync_folder(path: Path) -> None:
    """Make a rename inside `path` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_text_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all; lone surrogates become "?"."""
    with writing_whole(path) as partial:
        partial.write_bytes(text.encode("utf-8", "replace"))


def write_json_whole(path: Path, value: Any) -> None:
    """Write one JSON value, keys sorted and indented, whole or not at all."""
    write_text_whole(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_jsonl_whole(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line (gzip for a .gz name), whole or not at all; return the count."""
    count = 0
    with writing_whole(path) as partial, open_writer(path.name)(partial) as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            count += 1
    return count


def open_writer(name: str) -> Callable[[Path], Any]:
    """Return the opener for writing bytes to a file of this name: gzip without a timestamp, or plain."""
    if name.endswith(".gz"):
        return lambda path: gzip.GzipFile(filename="", mode="wb", fileobj=path.open("wb"), mtime=0)
    return lambda path: path.open("wb")


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSONL file (packed too), skipping blank lines.

    Raises DataError naming the file and every bad line (the first ten in full) after the good ones were read;
    at once for a line of over 64 MB, a file that unpacks to far more than it is, the thousandth bad line and
    a million blank ones.
    """
    bad: list[str] = []
    blank = 0
    try:
        with open_unpacked(path) as f:
            for number, line in bounded_lines(path, f):
                if not line.strip():
                    blank += 1
                    if blank > _MOST_BLANK_LINES:
                        raise DataError(f"{path}: line {number}: over {_MOST_BLANK_LINES} blank lines")
                    continue
                if len(bad) >= _MOST_BAD_LINES:
                    raise DataError(f"{bad_rows_message(path, bad)}; the rest is not read")
                try:
                    row = json.loads(line)
                except UnicodeDecodeError as error:
                    bad.append(f"line {number}: not UTF-8 ({error.reason} at byte {error.start})")
                    continue
                except (ValueError, RecursionError) as error:
                    bad.append(f"line {number}: not JSON ({error})")
                    continue
                if not isinstance(row, dict):
                    bad.append(f"line {number}: a JSON object is expected, found {type(row).__name__}")
                    continue
                yield number, row
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if bad:
        raise DataError(bad_rows_message(path, bad))


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading its text, unpacked where gzip or zstd packed it; raises DataError if absent."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: a file is expected, found a pipe or a device: data are read more than once")
    with path.open("rb") as f:
        magic = f.read(4)
    if magic[:2] == b"\x1f\x8b" or path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if magic == b"\x28\xb5\x2f\xfd":
        import pyarrow

        unpacked: Any = pyarrow.PythonFile(pyarrow.input_stream(str(path), compression="zstd"))
        return io.BufferedReader(unpacked)
    return path.open("rb")


def bounded_lines(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line); raises DataError for a line over 64 MB or a file packed beyond reason."""
    packed, size, number = path.stat().st_size, 0, 0
    while line := stream.readline(MOST_ROW_BYTES + 1):
        number, size = number + 1, size + len(line)
        if len(line) > MOST_ROW_BYTES:
            raise DataError(f"{path}: line {number}: over {MOST_ROW_BYTES >> 20} MB long")
        check_unpacked(path, packed, size)
        yield number, line


MOST_ROW_BYTES = 64 << 20
"""A longer row is refused; the longest of real data sets are a hundredth of it."""
_MOST_BAD_LINES = 1000
_MOST_BLANK_LINES = 1_000_000
"""256 MB of them, which 250 kB unpack to, would take minutes to read."""
_UNPACKED_FREELY = 256 << 20
_MOST_TIMES_PACKED = 100
"""Texts of code shrink to a fifth by gzip, a sample file with many alike to a thirtieth."""


def check_unpacked(path: Path, packed: int, unpacked: int) -> None:
    """Raise DataError where a file of `packed` bytes has come to more unpacked ones than data does."""
    if unpacked > max(_UNPACKED_FREELY, _MOST_TIMES_PACKED * packed):
        raise DataError(
            f"{path}: {packed} bytes that unpack to over {unpacked >> 20} MB, as no data does; "
            "unpack it yourself if it is what it should be"
        )


def read_unpacked(path: Path) -> bytes:
    """Return a whole file's bytes, unpacked where gzip or zstd packed them.

    Raises DataError for one that unpacks to far more than it is, or is no sound gzip; OSError or EOFError as
    reading does.
    """
    data, packed = bytearray(), path.stat().st_size
    try:
        with open_unpacked(path) as f:
            while block := f.read(1 << 20):
                data += block
                check_unpacked(path, packed, len(data))
    except zlib.error as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return bytes(data)


def bad_rows_message(path: Path, bad: list[str]) -> str:
    """Return one message that names a data file's bad rows together, at most ten in full."""
    more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
    return f"{path}: {'; '.join(bad[:10])}{more}"
