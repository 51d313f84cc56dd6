"""`evolcoder benchmarks`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import benchmark_names, load_benchmark


def listed(*words: str) -> str:
    return CliRunner().invoke(cli, ["benchmarks", *words], catch_exceptions=False).stdout


def test_every_benchmark_is_listed_with_its_size_licence_and_tier() -> None:
    rows = json.loads(listed("--json"))
    assert [row["name"] for row in rows] == list(benchmark_names())
    assert not [row["name"] for row in rows if not row["licence"]]
    assert [row["name"] for row in rows if not row["data"]] == ["general-held-out"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["humaneval"]["tier"] == "rpc" and by_name["bigcodebench:hard"]["problems"] == 148
    assert by_name["livecodebench"]["dated"] and not by_name["mbpp"]["dated"]


def test_the_sizes_are_those_of_the_data(benchmark_data: Path) -> None:
    names = ("mbpp:train", "mbpp+@v0.1.0", "ds1000:insertion", "multipl-e:sh", "multipl-e:mbpp-rs")
    for name in (*names, "bigcodebench:hard", "cruxeval:input"):
        assert benchmark_names()[name].size == len(load_benchmark(name).problems), name


def test_what_is_missing_is_named_with_what_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_DATA", str(tmp_path))
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    (row,) = json.loads(listed("ds1000:ins", "--json"))
    assert row["missing"] == [
        "data: downloaded at its first use from raw.githubusercontent.com",
        "data: ds1000/completion_and_insertion_prompts.jsonl.gz in EVOLCODER_DATA, which nobody offers",
        "ds1000 is judged in an environment of its own, which is not built: evolcoder setup ds1000",
    ]
    (tmp_path / "cruxeval").mkdir()
    (tmp_path / "cruxeval" / "cruxeval.jsonl.gz").touch()
    heading, *lines = listed("cruxeval").splitlines()
    assert heading.split() == ["benchmark", "problems", "licence", "tier", "data", "from", "missing", "here"]
    assert [line.split()[0] for line in lines] == [name for name in benchmark_names() if "cruxeval" in name]
    assert {line.split()[-1] for line in lines} == {"nothing"}


def test_a_word_that_no_name_holds_is_told() -> None:
    with pytest.raises(
        UserError, match=r"no benchmark's name holds 'humanevl' \(did you mean 'humaneval'\?\)"
    ):
        listed("humanevl")
