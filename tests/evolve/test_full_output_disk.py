"""A disk that is full where rows are written: they wait for room, and what was paid for is in the journal."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from teacher import TASKS, Teacher, seeds

from evolcoder.errors import EvolcoderError, OutsideError
from evolcoder.evolve.rounds import evolve_dataset
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.models.journal.journal import Journal, JournaledModel
from evolcoder.parquet_files import write_parquet
from evolcoder.progress import SilentProgress

OUTPUTS = ["evolved.jsonl", "eliminated.jsonl", "dataset.jsonl", "summary.json"]


class FullDisk:
    """A disk that takes nothing into a file of one name, and a little less than it is given at first."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name, self.full, self.open_file = name, True, Path.open
        self.met = threading.Event()
        monkeypatch.setattr(Path, "open", lambda path, *how, **more: self.opened(path, *how, **more))

    def opened(self, path: Path, *how: Any, **more: Any) -> Any:
        file = self.open_file(path, *how, **more)
        if (
            self.name not in path.name
            or not path.name.endswith(".partial")
            or "wb" not in (*how, *more.values())
        ):
            return file
        write, first = file.write, True

        def little(data: Any) -> Any:
            nonlocal first
            if self.full and not first:
                self.met.set()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.full:  # as the last blocks of a disk are filled
                first = False
                if more.get("buffering") == 0:
                    return write(bytes(data[:10]))
                return little(data)
            return write(data)

        return _Wrapped(file, little)


class _Wrapped:
    def __init__(self, file: Any, write: Any) -> None:
        self.file, self.write = file, write

    def __enter__(self) -> _Wrapped:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def close(self) -> None:
        self.file.close()


def some_harder(text: str) -> str:
    return text if "9" in text else text + " In Rust."


def evolved(out: Path, teacher: Teacher) -> None:
    async def main() -> None:
        async with Journal(out / "journal.sqlite") as journal:
            model = JournaledModel(teacher, journal)
            rows = seeds([f"{text} Number {i}." for i in range(10) for text in TASKS])
            progress = SilentProgress()
            await evolve_dataset(rows, model, EvolveSettings(rows_in_flight=8), 1, out, progress)

    asyncio.run(main())


@pytest.mark.parametrize("name", OUTPUTS)
def test_rows_wait_for_room_as_the_journal_does(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    evolved(tmp_path / "expected", Teacher(evolve=some_harder))
    monkeypatch.setattr("evolcoder.runs._TRY_EVERY_S", 0.01)
    disk = FullDisk(name, monkeypatch)

    def make_room() -> None:
        disk.met.wait(20)
        disk.full = False

    thread = threading.Thread(target=make_room)
    thread.start()
    teacher = Teacher(evolve=some_harder)
    evolved(tmp_path / "out", teacher)
    thread.join()
    assert disk.met.is_set()
    for output in (*(f"round-1/{one}" for one in OUTPUTS if one != "dataset.jsonl"), "dataset.jsonl"):
        assert (tmp_path / "out" / output).read_bytes() == (tmp_path / "expected" / output).read_bytes()
    assert "cannot be written (no space left on device)" in caplog.text
    assert "can be written again" in caplog.text


@pytest.mark.parametrize("name", OUTPUTS)
def test_without_room_it_says_so_and_the_same_work_goes_on_without_asking_again(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evolcoder.runs._TRY_EVERY_S", 0.01)
    monkeypatch.setattr("evolcoder.runs.WAIT_FOR_ROOM_S", 0.05)
    disk, teacher = FullDisk(name, monkeypatch), Teacher(evolve=some_harder)
    said = r"every answer that came is in the journal: make room on the disk, then the same command continues"
    with pytest.raises(OutsideError, match=said):
        evolved(tmp_path, teacher)
    assert not list(tmp_path.rglob("*.partial"))
    disk.full = False
    evolved(tmp_path, teacher)
    keys = [request.key("scripted") for request in teacher.requests]
    assert len(set(keys)) == len(keys) == 114
    assert (tmp_path / "dataset.jsonl").read_text().count("\n") == 114


def test_another_error_is_not_hidden_by_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> str:
        if "Number 9" in text:
            raise EvolcoderError("the teacher went home")
        return text + " In Rust."

    FullDisk("evolved.jsonl", monkeypatch)
    with pytest.raises(EvolcoderError, match="the teacher went home"):
        evolved(tmp_path, Teacher(evolve=fail))


def test_a_parquet_file_that_does_not_fit_is_told_as_what_the_disk_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": "{i}"}}\n' for i in range(3000)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large.*rows\.parquet"):
            write_parquet(tmp_path / "rows.jsonl", tmp_path / "rows.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
