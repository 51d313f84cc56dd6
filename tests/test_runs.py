"""Files are whole or absent, whatever happens to the process that writes them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.runs import (
    content_hash,
    making_folder_whole,
    write_jsonl_whole,
    write_text_whole,
    writing_whole,
)

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from evolcoder.runs import {how}
with {how}(Path(sys.argv[1])) as partial:
    (partial / "a" if partial.is_dir() else partial).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_whole(path, "old")

    def write_half() -> None:
        with writing_whole(path) as partial:
            partial.write_text("half")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("how", ["writing_whole", "making_folder_whole"])
def test_what_a_killed_process_left_is_swept_by_the_next_write(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING.format(how=how), str(path)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    if how == "writing_whole":
        write_text_whole(path, "whole")
        assert path.read_text() == "whole"
    else:
        with making_folder_whole(path) as partial:
            (partial / "b").write_text("whole")
        assert names(path) == ["b"]
    assert names(tmp_path) == ["a"]


def test_a_folder_replaces_its_older_self_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with making_folder_whole(tmp_path / "f") as partial:
            (partial / name).write_text(name)
    assert names(tmp_path / "f") == ["new"]


def test_the_same_rows_give_the_same_gzip_bytes(tmp_path: Path) -> None:
    rows = [{"a": "é\ud800"}, {"b": 1}]
    assert write_jsonl_whole(tmp_path / "1.jsonl.gz", rows) == 2
    write_jsonl_whole(tmp_path / "2.jsonl.gz", rows)
    assert (tmp_path / "1.jsonl.gz").read_bytes() == (tmp_path / "2.jsonl.gz").read_bytes()


@given(st.lists(st.text() | st.integers() | st.binary(), max_size=4), st.lists(st.text(), max_size=4))
def test_a_content_hash_tells_different_parts_apart(first: list[object], second: list[object]) -> None:
    assert (content_hash(*first) == content_hash(*second)) == (first == second)


def test_moving_text_between_parts_changes_the_hash() -> None:
    assert content_hash("ab", "c") != content_hash("a", "bc")
