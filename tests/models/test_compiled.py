"""Libraries compiled on this machine: kept whole, made anew where what is kept is not what was written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evolcoder.cache import cache_folder

CALL = (
    "import sys; from pathlib import Path; from evolcoder.models.local.compiled import compiled; "
    "print(compiled(Path(sys.argv[1])).answer())"
)

needs_a_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "answer.c"
    file.write_text("static int kept[4096] = {42};\nint answer(void) { return kept[0]; }\n")
    return file


def call(source: Path) -> str:
    """In a process of its own: a library is loaded once a process, and a broken one may end it."""
    command = [sys.executable, "-c", CALL, str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()


@needs_a_compiler
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9])
def test_a_kept_library_that_was_cut_short_is_made_anew(source: Path, part: float) -> None:
    assert call(source) == "42"
    (kept,) = source.parent.glob("cache/kernels/*.so")
    content = kept.read_bytes()
    kept.write_bytes(content[: int(part * len(content))])
    assert call(source) == "42"
    assert len(kept.read_bytes()) == len(content)


@needs_a_compiler
def test_a_kept_library_is_not_made_again(source: Path) -> None:
    assert call(source) == "42"
    (kept,) = source.parent.glob("cache/kernels/*.so")
    made = kept.stat()
    assert call(source) == "42"
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)


@needs_a_compiler
def test_processes_that_compile_at_once_all_get_the_library(source: Path) -> None:
    command = [sys.executable, "-c", CALL, str(source)]
    each = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=120)[0].strip() for process in each] == ["42"] * 4
    (kernels,) = source.parent.glob("cache/kernels")
    assert [file.suffix for file in kernels.iterdir()] == [".so"], "nothing is left beside it"


def test_a_user_without_a_home_folder_has_a_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number alone: it may be one that cannot be written, no error."""
    for name in ("EVOLCODER_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert cache_folder() == Path("/.cache/evolcoder")
