"""The weights of a GGUF file as an ordinary model folder, made once and kept in the cache folder.

Reading SmolLM2-135M from its folder takes a fiftieth of the CPU time that its GGUF file takes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from evolcoder.cache import cache_folder, kept_file_hash, oldest_of_cache
from evolcoder.errors import OutsideError
from evolcoder.runs import content_hash, making_folder_whole, take_lock

LARGEST_BYTES = 2 << 30
"""A larger GGUF file is dequantised at each start: as fp32 it takes four to eight times its size on disk."""
KEPT = 4
"""Folders kept; the one that was used longest ago goes first."""


def dequantised_folder(file: Path, version: str, write: Callable[[Path], None]) -> Path:
    """Return the folder of fp32 weights and tokenizer that `write` makes of a GGUF file.

    `version` is that of the library that dequantises. The file itself is returned where it is too large or
    the cache cannot be written.
    """
    if file.stat().st_size > LARGEST_BYTES:
        return file
    try:
        if (known := known_folder(file, version)) is not None:
            os.utime(known)
            return known
        folder = _folder_of(file, version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder.parent / ".lock", wait=True)  # one process makes it, the others wait for it
        try:
            if known_folder(file, version) is None:
                with making_folder_whole(folder, "dequantised model") as partial:
                    write(partial)
                for oldest in oldest_of_cache(folder.parent, KEPT):
                    shutil.rmtree(oldest, ignore_errors=True)
        finally:
            os.close(lock)
    except (OSError, OutsideError):
        return file
    return folder


def known_folder(file: Path, version: str) -> Path | None:
    """Return the folder made of a GGUF file before, or None."""
    folder = _folder_of(file, version)
    return folder if (folder / "config.json").exists() else None


def _folder_of(file: Path, version: str) -> Path:
    return cache_folder() / "dequantised" / content_hash("dequantised", 3, version, kept_file_hash(file))
