"""`evolcoder evaluate` and `evolcoder generate`, as a user types them, with a tiny model in this process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.models.byte_llama import save_tiny_model

from evolcoder.cli import cli
from evolcoder.errors import UserError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", max_position_embeddings=2048)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "EVOLCODER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def evolcoder(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evolcoder", *arguments],
        capture_output=True,
        text=True,
        env=environment(folder),
        check=False,
    )


def write_rows(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


def test_generate_keeps_every_field_and_the_order(model: Path, tmp_path: Path) -> None:
    rows = [
        {"idx": 11, "Instruction": "Write a Python code to count 1 to 10.", "mine": {"kept": [1, None]}},
        {"idx": 7, "Instruction": "x" * 300},
        {"idx": "a", "instruction": "Sort.", "input": "3 1 2"},
    ]
    source = write_rows(tmp_path / "data.jsonl", [json.dumps(row) for row in rows])
    out = tmp_path / "result.jsonl"
    arguments = ["generate", "--model", str(model), "--input", str(source), "--output", str(out)]
    done = evolcoder(tmp_path, *arguments, "--max-tokens", "8", "--dtype", "fp32", "--json")
    assert done.returncode == 0, done.stderr
    answered = [json.loads(line) for line in out.read_text().splitlines()]
    assert [
        {k: v for k, v in row.items() if k in given} for row, given in zip(answered, rows, strict=True)
    ] == rows
    assert all(
        set(row) - set(given) == {"response", "finish_reason"}
        for row, given in zip(answered, rows, strict=True)
    )
    assert json.loads(done.stdout)["rows"] == 3
    again = CliRunner().invoke(
        cli, [*arguments, "--max-tokens", "8", "--dtype", "fp32", "--fields", "wizardcoder", "--overwrite"]
    )
    assert again.exit_code == 0, again.output
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {
            "id": row["idx"],
            "instruction": row.get("Instruction") or row["instruction"],
            "wizardcoder": row["response"],
        }
        for row in answered
    ]


def test_generate_tells_of_all_bad_lines_at_once(model: Path, tmp_path: Path) -> None:
    lines = ['{"idx": 1, "Instruction": "fine"}', '{"idx": 2}', "{broken", '{"idx": 4, "Instruction": 5}']
    source = write_rows(tmp_path / "data.jsonl", lines)
    done = evolcoder(
        tmp_path, "generate", "-m", str(model), "--input", str(source), "--output", str(tmp_path / "r.jsonl")
    )
    assert done.returncode == 2
    assert all(part in done.stderr for part in ("line 2", "line 3", "line 4", "'Instruction'", "data.jsonl"))
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "r.jsonl").exists()


def test_a_subset_is_marked_beside_published_scores_and_the_design_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    arguments = ["evaluate", "--model", str(model), "-b", "humaneval", "--limit", "2", "--max-tokens", "4"]
    told = CliRunner().invoke(cli, [*arguments, "--dtype", "fp32", "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    assert "pass@1 0.0*" in told.output and "0.0* <- this" in told.output
    assert "* a subset (2 of 164, evenly spaced): not comparable with published scores" in told.output
    assert "18.3† CodeGen-16B-Multi (n=20 or 200)" in told.output
    assert "points between two models at the least" in told.output

    def again(*more: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, *more, "--out", str(tmp_path / "out")])

    scores = (tmp_path / "out" / "humaneval" / "scores.json").read_bytes()
    other = shutil.copytree(model, tmp_path / "other")
    refused = again("--dtype", "fp32", "--model", str(other))
    assert isinstance(refused.exception, UserError)
    assert "holds the scores of another evaluation (model tiny@" in str(refused.exception)
    refused = again("--dtype", "fp32", "--temperature", "0.7")
    assert "there" in str(refused.exception) and "name another folder" in str(refused.exception)
    assert (tmp_path / "out" / "humaneval" / "scores.json").read_bytes() == scores
    assert again("--dtype", "fp32").exit_code == 0  # the same one goes on
    assert (tmp_path / "out" / "humaneval" / "scores.json").read_bytes() == scores
    written = again("--dtype", "fp32", "--limit", "4")  # and further
    assert written.exit_code == 0 and "4 problems" in written.output


def test_a_killed_evaluation_continues_and_ends_with_the_same_bytes(model: Path, tmp_path: Path) -> None:
    def arguments(out: Path) -> list[str]:
        return [
            "evaluate", "--model", str(model), "--benchmark", "humaneval", "--out", str(out), "--limit", "12",
            "--n", "4", "--temperature", "0.9", "--max-tokens", "60", "--batch-size", "2", "--dtype", "fp32",
            "--json",
        ]  # fmt: skip

    whole = evolcoder(tmp_path, *arguments(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["humaneval"]["scores"][0]["n_samples"] == 48

    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "evolcoder", *arguments(killed)]
    process = subprocess.Popen(
        command, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and replies(killed) < 8:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = replies(killed)
    assert 8 <= before < 48
    continued = evolcoder(tmp_path, *arguments(killed))
    assert continued.returncode == 0, continued.stderr
    assert replies(killed) == 48
    for name in ("samples.jsonl", "verdicts.jsonl", "scores.json"):
        path = Path("humaneval") / name
        assert (killed / path).read_bytes() == (tmp_path / "whole" / path).read_bytes(), name


def replies(folder: Path) -> int:
    """How many replies a journal holds now."""
    if not (folder / "journal.sqlite").exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM replies").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # the table is being made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "embeded", "--benchmark", "humaneval"], "did you mean 'embedded'"),
        (["--model", "embedded", "--benchmark", "humanevl"], "did you mean 'humaneval'"),
        (["--model", "embedded", "--benchmark", " , "], "--benchmark: a name is expected"),
        (["--model", "embedded", "--benchmark", "humaneval", "--preset", "scrip"], "did you mean 'script'"),
        (["--model", "embedded", "--benchmark", "humaneval", "--greedy", "--n", "5"], "--greedy"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = evolcoder(tmp_path, "evaluate", *arguments, "--out", str(tmp_path / "out"))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert said in done.stderr
