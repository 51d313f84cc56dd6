"""Files are whole or absent, whatever happens to the process that writes them."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.errors import DataError, EvolcoderError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.sample_rows import rows_of
from evolcoder.instructions import read_instructions
from evolcoder.loop.run import locked
from evolcoder.models.journal.journal import Journal
from evolcoder.runs import (
    content_hash,
    making_folder_whole,
    read_jsonl,
    take_lock,
    write_jsonl_whole,
    write_text_whole,
    writing_whole,
)

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from evolcoder.runs import {how}
with {how}(Path(sys.argv[1]){kind}) as partial:
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


@pytest.mark.parametrize(("how", "kind"), [("writing_whole", ""), ("making_folder_whole", ", 'test'")])
def test_what_a_killed_process_left_is_swept_by_the_next_write(tmp_path: Path, how: str, kind: str) -> None:
    path = tmp_path / "a"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING.format(how=how, kind=kind), str(path)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    if how == "writing_whole":
        write_text_whole(path, "whole")
        assert path.read_text() == "whole"
    else:
        with making_folder_whole(path, "test") as partial:
            (partial / "b").write_text("whole")
        assert names(path) == [".evolcoder.hashes", ".evolcoder.json", "b"]
    assert names(tmp_path) == ["a"]


def test_a_folder_replaces_its_older_self_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with making_folder_whole(tmp_path / "f", "test") as partial:
            (partial / name).write_text(name)
    assert names(tmp_path / "f") == [".evolcoder.hashes", ".evolcoder.json", "new"]


KILLED_WHILE_REPLACING = """
import os, signal, sys
from pathlib import Path
from evolcoder.runs import making_folder_whole
rename = Path.rename
def once(path, target):
    rename(path, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = once
with making_folder_whole(Path(sys.argv[1]), "test") as partial:
    (partial / "new").write_text("new")
"""


def test_a_folder_whose_successor_was_killed_on_its_way_stands_again(tmp_path: Path) -> None:
    with making_folder_whole(tmp_path / "f", "test") as partial:
        (partial / "old").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_REPLACING, str(tmp_path / "f")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "f").exists()

    def fail() -> None:
        with making_folder_whole(tmp_path / "f", "test"):
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "f" / "old").read_text() == "old"
    assert names(tmp_path) == ["f"]


def test_a_folder_without_a_name_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(DataError, match="a folder with a name is expected"),
        making_folder_whole(Path(), "test"),
    ):
        pass
    assert names(tmp_path) == []


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


def link_to(lock: Path, precious: Path) -> None:
    lock.symlink_to(precious)


def second_name_of(lock: Path, precious: Path) -> None:
    lock.hardlink_to(precious)


def dangling_link(lock: Path, precious: Path) -> None:
    lock.symlink_to(precious.with_name("made-by-the-lock"))


def text_of_somebody(lock: Path, precious: Path) -> None:
    lock.write_text("12 eggs")


def pipe_without_a_reader(lock: Path, precious: Path) -> None:
    os.mkfifo(lock)


@pytest.mark.parametrize(
    "put", [link_to, second_name_of, dangling_link, text_of_somebody, pipe_without_a_reader]
)
@pytest.mark.parametrize("who", ["run", "journal"])
def test_a_lock_follows_no_link_and_empties_no_file(
    tmp_path: Path, who: str, put: Callable[[Path, Path], None]
) -> None:
    precious, shared = tmp_path / "precious", tmp_path / "shared"
    precious.write_text("precious")
    shared.mkdir()
    lock = shared / (".lock" if who == "run" else ".journal.sqlite.lock")
    put(lock, precious)

    def begin() -> None:
        if who == "run":
            with locked(shared):
                pass
        else:
            Journal(shared / "journal.sqlite")

    with pytest.raises(DataError, match="a lock file of evolcoder is expected"):
        begin()
    assert precious.read_text() == "precious"
    assert not (tmp_path / "made-by-the-lock").exists()
    assert put is not text_of_somebody or lock.read_text() == "12 eggs"


def test_a_lock_is_held_until_it_is_closed_and_says_who_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.touch()  # as 0.1.0 left it
    fd = take_lock(lock)
    with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
        take_lock(lock)
    os.close(fd)
    os.close(take_lock(lock))


def test_a_file_system_without_locks_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(EvolcoderError, match="the file system offers no locks"):
        take_lock(tmp_path / ".lock")


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolcoder.runs.MOST_ROW_BYTES", 1 << 20)
    monkeypatch.setattr("evolcoder.runs._UNPACKED_FREELY", 4 << 20)


def samples_of(path: Path) -> list[object]:
    return list(rows_of(path, load_benchmark("humaneval")))


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("read", [read_instructions, samples_of])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl.gz", gzip.compress(b"0" * (9 << 20), mtime=0), "line 1: over 1 MB long"),
        ("a.jsonl", b"\n" + b"0" * (2 << 20), "line 2: over 1 MB long"),
        ("a.jsonl.gz", gzip.compress((b" " * 999 + b"\n") * 9000, mtime=0), "unpack to over"),
        ("a.jsonl.gz", gzip.compress(b"\n" * (2 << 20), mtime=0), "line 1000001: over 1000000 blank lines"),
        ("a.json.gz", gzip.compress(b"[" + b"1," * (9 << 20), mtime=0), "unpack to over"),
        ("a.jsonl", b"nonsense\n" * 5000, "the rest is not read"),
        ("a.jsonl", b"{" + b'"a":{' * 90000 + b"\n", "line 1: not JSON"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 9, mtime=0)[:12] + b"\xff" * 40, "cannot be read"),
    ],
)
def test_a_bomb_and_an_endless_row_are_refused_by_size(
    tmp_path: Path, read: Callable[[Path], object], name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(path)


def test_a_packed_file_of_many_alike_rows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"instruction": "Sum two numbers.", "output": "a + b"}\n' * 20000))
    assert len(list(read_jsonl(path))) == 20000
