"""C sources of this package, compiled where they run and kept in the cache folder."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from evolcoder.cache import cache_folder
from evolcoder.runs import content_hash

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")
_COMPILE_S = 60
_DIGEST_BYTES = 32
"""A kept library ends in a digest, which no loader reads: one cut short would end the process (SIGBUS)."""


@functools.lru_cache(maxsize=64)
def compiled(source: Path, further_flags: tuple[str, ...] = ()) -> ctypes.CDLL | None:
    """Return the library made of one source file, anew or from before; None where it cannot be made."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    name = content_hash(source.read_text(), _FLAGS, further_flags, processor())
    kept = cache_folder() / "kernels" / f"{source.stem.replace('_', '-')}-{name[:16]}.so"
    try:
        if not _is_whole(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
                made = Path(folder) / "made.so"
                command = [compiler, *_FLAGS, *further_flags, "-o", str(made), str(source)]
                subprocess.run(command, check=True, capture_output=True, timeout=_COMPILE_S)
                made.write_bytes(_with_digest(made.read_bytes()))
                made.replace(kept)
        return ctypes.CDLL(str(kept))
    except (OSError, subprocess.SubprocessError):
        return None


def _is_whole(library: Path) -> bool:
    """Return whether a library is there as it was written."""
    if not library.exists():
        return False
    content = library.read_bytes()
    return content == _with_digest(content[:-_DIGEST_BYTES])


def _with_digest(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def processor() -> str:
    """Return what tells processors apart: code for one may not run on another that shares the folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    told = ("flags", "Features", "model name")
    return "\n".join(sorted({line for line in lines if line.startswith(told)}))
