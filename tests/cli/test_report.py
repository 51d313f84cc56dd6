"""`evolcoder report`: the path on standard output, one line of error where there is no run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import DataError
from evolcoder.runs import write_json_whole, write_text_whole


def a_run(folder: Path) -> Path:
    write_text_whole(folder / "recipe.yaml", "name: small\n")
    rounds = [{"round": 0, "value": 0.1, "low": 0.0, "high": 0.3, "rows": 0}]
    write_json_whole(folder / "result.json", {"benchmark": "humaneval", "rounds": rounds, "best_round": 0})
    return folder


def test_the_path_of_the_report_is_printed(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(a_run(tmp_path / "run"))], catch_exceptions=False)
    assert done.output.strip() == str(tmp_path / "run" / "report.html")
    assert "small" in Path(done.output.strip()).read_text(encoding="utf-8")


def test_json_carries_the_path_and_the_result(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(a_run(tmp_path)), "--json"], catch_exceptions=False)
    printed = json.loads(done.output)
    assert printed["report"] == str(tmp_path / "report.html")
    assert [result["best_round"] for result in printed["results"]] == [0]
    assert printed["cards"] == []


def test_a_folder_that_is_no_run_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evolcoder", "report", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert (
        done.stderr == f"error: {tmp_path}: not a run folder (recipe.yaml or round-0 is expected in it)"
        ", nor a model that learnt from execution\n"
    )


def test_a_page_of_ones_own_in_a_runs_folder_stays(tmp_path: Path) -> None:
    page = a_run(tmp_path / "run") / "report.html"
    page.write_text("<!doctype html><title>my own</title>")
    with pytest.raises(DataError, match="is no report of evolcoder"):
        CliRunner().invoke(cli, ["report", str(page.parent)], catch_exceptions=False)
    assert "my own" in page.read_text()


def test_help_shows_an_example() -> None:
    assert "evolcoder report runs/quickstart" in CliRunner().invoke(cli, ["report", "--help"]).output
