"""Whatever stands where a command shall write, what evolcoder did not make stays as it was."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from evolcoder.cli import main

ADDRESS = ("--base-url", "http://127.0.0.1:9/v1")
TEACHER = ("--teacher", "openai:m", *ADDRESS)
COMMANDS = {
    "evolve": ("evolve", "--seeds", "d.jsonl", *TEACHER, "--out"),
    "a dry run": ("evolve", "--seeds", "d.jsonl", *TEACHER, "--dry-run", "--out"),
    "alpaca": ("data", "export", "d.jsonl", "--to", "alpaca", "--out"),
    "chat": ("data", "export", "d.jsonl", "--to", "chat", "--out"),
    "parquet": ("data", "export", "d.jsonl", "--to", "parquet", "--out"),
    "hub": ("data", "export", "d.jsonl", "--to", "hub", "--out"),
    "clean rows": ("decontaminate", "d.jsonl", "-b", "humaneval", "--out"),
    "hits": ("decontaminate", "d.jsonl", "-b", "humaneval", "--report"),
    "generate": ("generate", "--model", "openai:m", *ADDRESS, "--input", "d.jsonl", "--output"),
    "verdicts": ("score", "s.jsonl", "-b", "humaneval", "--out"),
    "results": ("score", "s.jsonl", "-b", "humaneval", "--results"),
    "evaluate": ("evaluate", "--model", "openai:m", *ADDRESS, "-b", "humaneval", "--limit", "1", "--out"),
    "markdown": ("leaderboard", "--markdown"),
    "csv": ("leaderboard", "--csv"),
    "chart": ("leaderboard", "--chart"),
    "comparison": ("report", "runs/a", "runs/b", "--out"),
    "seeds": ("seeds", "from-code", "code", *TEACHER, "--out"),
    "benchmark": ("benchmark", "from-code", "code", *TEACHER, "--out"),
    "gguf": ("export", "embedded", "--out"),
    "train": ("train", "--base", "embedded", "--data", "d.jsonl", "--max-steps", "1", "--out"),
    "run": ("run", "r.yaml", "--dir"),
    "setup": ("setup", "ds1000", "--into"),
}
ENDINGS = {"chart": ".svg", "seeds": ".jsonl"}
FUNCTION = '''def add(a: int, b: int) -> int:
    """Return the sum of two whole numbers, the first and the second."""
    total = a + b
    return total
'''
MINE = (
    "README.md",
    "recipe.yaml",
    "journal.txt",
    "notes/thesis.txt",
    "humaneval/samples.jsonl",
    "bin/python",
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    row = {"instruction": "Add two numbers.", "response": "def add(a, b): return a + b"}
    (tmp_path / "d.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "s.jsonl").write_text(json.dumps({"task_id": "HumanEval/0", "completion": "    pass\n"}))
    (tmp_path / "r.yaml").write_text("seeds: {source: d.jsonl}\nbase: {model: embedded}\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text(FUNCTION)
    return tmp_path


def place(kind: str, folder: Path, ending: str) -> str:
    """Put what is somebody's own under a folder and return where the command shall write."""
    if kind == "a file":
        (folder / f"out{ending}").write_text("a thesis\nof two lines\n")
    elif kind == "a link to a file":
        (folder / "mine").write_text("a thesis\nof two lines\n")
        (folder / f"out{ending}").symlink_to("mine")
    elif kind == "below a file":
        (folder / "mine").write_text("a thesis")
        return f"mine/out{ending}"
    elif kind in ("a folder", "a link to a folder"):
        target = folder / (f"out{ending}" if kind == "a folder" else "mine")
        for name in MINE:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text("a thesis")
        if kind != "a folder":
            (folder / f"out{ending}").symlink_to("mine")
    else:  # of another command
        (folder / "out").mkdir()
        (folder / "out" / "a").write_text("x")
        mark = {"kind": "something else", "files": ["a"]}
        (folder / "out" / ".evolcoder.json").write_text(json.dumps(mark))
    return f"out{ending}"


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def evolcoder(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command as a shell does, which ends with exit code 2, and return what it says."""
    monkeypatch.setattr(sys, "argv", ["evolcoder", *arguments])
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    return said


@pytest.mark.parametrize(
    "kind", ["a folder", "a link to a folder", "a file", "a link to a file", "below a file"]
)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_stands_there_stays(
    name: str,
    kind: str,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    if name == "run":  # which looks at its benchmarks' problems before its folder
        monkeypatch.setenv("EVOLCODER_DATA", str(request.getfixturevalue("data_folder")))
    out = place(kind, work, ENDINGS.get(name, ""))
    before = tree(work)
    said = evolcoder(*COMMANDS[name], out, monkeypatch=monkeypatch, capsys=capsys)
    assert out.split("/")[0] in said
    assert tree(work) == before


@pytest.mark.parametrize("name", ["evolve", "hub", "benchmark", "train"])
def test_an_output_of_another_kind_stays(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place("another kind of output", work, "")
    before = tree(work)
    evolcoder(*COMMANDS[name], out, monkeypatch=monkeypatch, capsys=capsys)
    assert tree(work) == before


@pytest.mark.parametrize("name", ["clean rows", "hits", "verdicts", "results", "alpaca", "chat", "generate"])
def test_what_is_read_is_not_written_over(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(work)
    data = "s.jsonl" if COMMANDS[name][0] == "score" else "d.jsonl"
    said = evolcoder(*COMMANDS[name], f"./{data}", monkeypatch=monkeypatch, capsys=capsys)
    assert "the data itself" in said
    assert tree(work) == before


def test_samples_beside_those_that_are_scored_are_not_written_over(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "samples").mkdir()
    (work / "s.jsonl").rename(work / "samples" / "a.jsonl")
    before = tree(work)
    command = ("score", "samples", "-b", "humaneval", "--out", "samples/a.jsonl")
    assert "another kind" in evolcoder(*command, monkeypatch=monkeypatch, capsys=capsys)
    assert tree(work) == before


FILES = ("markdown", "csv", "chart", "clean rows", "hits", "verdicts", "results", "alpaca", "chat", "parquet")


@pytest.mark.parametrize("name", [*FILES, "hub"])
def test_an_earlier_output_is_replaced(name: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(work / "cache"))
    monkeypatch.setattr(sys, "argv", ["evolcoder", *COMMANDS[name], f"out{ENDINGS.get(name, '')}"])
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_kind_that_evolcoder_did_not_write_is_replaced_only_where_told_so(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*COMMANDS[name], f"out{ENDINGS.get(name, '')}"]
    monkeypatch.setattr(sys, "argv", ["evolcoder", *command])
    monkeypatch.setenv("EVOLCODER_CACHE", str(work / "of another machine"))
    with pytest.raises(SystemExit):
        main()
    written = work / f"out{ENDINGS.get(name, '')}"
    before = written.read_bytes()
    monkeypatch.setenv("EVOLCODER_CACHE", str(work / "cache"))
    assert "--overwrite" in evolcoder(*command, monkeypatch=monkeypatch, capsys=capsys)
    assert written.read_bytes() == before
    monkeypatch.setattr(sys, "argv", ["evolcoder", *command, "--overwrite"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


@pytest.mark.parametrize("name", [*FILES, "generate", "gguf", "comparison"])
def test_what_is_of_another_kind_stays_though_told_to_overwrite(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place("a file", work, ENDINGS.get(name, ""))
    before = tree(work)
    evolcoder(*COMMANDS[name], out, "--overwrite", monkeypatch=monkeypatch, capsys=capsys)
    assert tree(work) == before


def test_a_card_that_somebody_edited_is_replaced_only_where_told_so(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evolcoder", *COMMANDS["hub"], "out"]
    card = work / "out" / "README.md"
    for more in ([], [], ["--overwrite"]):
        monkeypatch.setattr(sys, "argv", [*command, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        written = card.read_text()
    card.write_text(written + "My own words.\n")
    said = evolcoder(*COMMANDS["hub"], "out", monkeypatch=monkeypatch, capsys=capsys)
    assert "'README.md' was changed" in said and "--overwrite" in said
    assert card.read_text().endswith("My own words.\n")
    monkeypatch.setattr(sys, "argv", [*command, "--overwrite"])
    with pytest.raises(SystemExit):
        main()
    assert card.read_text() == written


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
@pytest.mark.parametrize("name", COMMANDS)
def test_where_no_file_can_be_made_is_told_in_one_line(
    name: str,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    if name == "run":
        monkeypatch.setenv("EVOLCODER_DATA", str(request.getfixturevalue("data_folder")))
    out = f"/proc/no-such-process/out{ENDINGS.get(name, '')}"
    said = evolcoder(*COMMANDS[name], out, monkeypatch=monkeypatch, capsys=capsys)
    assert "nothing can be written there" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", [*FILES, "generate", "gguf", "comparison"])
def test_a_device_is_no_file_to_be_replaced(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"out{ENDINGS.get(name, '')}"
    os.mkfifo(work / out)
    assert "a device" in evolcoder(*COMMANDS[name], out, monkeypatch=monkeypatch, capsys=capsys)
    assert (work / out).is_fifo()
