from __future__ import annotations

import os
from pathlib import Path

import pytest

from evolcoder import cache
from evolcoder.errors import DataError
from evolcoder.models.local import dequantised
from evolcoder.output_files import begins_with, output_file
from evolcoder.runs import write_text_whole


def _write(out: Path, text: str) -> None:
    with output_file(out, begins_with(b"row")):
        out.write_text(text)


def test_only_the_latest_outputs_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("evolcoder.output_files._MOST_NOTES", 2)
    outs = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for number, out in enumerate(outs):
        _write(out, f"row {number}")
        for note in (tmp_path / "cache" / "outputs").iterdir():  # each is a second older than the next
            at = note.stat().st_mtime - 1
            os.utime(note, (at, at))
    assert len(list((tmp_path / "cache" / "outputs").iterdir())) == 2
    for out in outs[1:]:
        _write(out, "row again")
    with pytest.raises(DataError, match="--overwrite"):
        _write(outs[0], "row again")
    assert outs[0].read_text() == "row 0"


def test_the_hashes_of_large_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_MOST_HASHES", 2)
    monkeypatch.setattr(cache, "_SETTLED_NS", -1)
    for number in range(4):
        path = tmp_path / f"weights-{number}"
        path.write_bytes(bytes([number]) * (1 << 20))
        cache.kept_file_hash(path)
    assert len(list((tmp_path / "cache" / "hashes").iterdir())) == 2


def test_files_of_somebody_else_in_the_cache_folder_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path))  # a folder of one's own, with results in it
    monkeypatch.setattr("evolcoder.output_files._MOST_NOTES", 1)
    own = tmp_path / "outputs" / "results.csv"
    own.parent.mkdir()
    own.write_text("paid for")
    os.utime(own, (1, 1))
    for number in range(3):
        _write(tmp_path / f"{number}.jsonl", f"row {number}")
    assert own.read_text() == "paid for"
    assert len(list(own.parent.iterdir())) == 2


def test_folders_of_somebody_else_among_the_dequantised_models_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path))
    own = tmp_path / "dequantised" / "my-model"
    own.mkdir(parents=True)
    os.utime(own, (1, 1))
    for number in range(dequantised.KEPT + 2):
        file = tmp_path / f"{number}.gguf"
        file.write_bytes(bytes([number]))
        dequantised.dequantised_folder(
            file, "1", lambda folder: write_text_whole(folder / "config.json", "{}")
        )
    assert own.is_dir()
    assert len(list(own.parent.glob("[!.]*"))) == dequantised.KEPT + 1
