"""LiveCodeBench on problems of our own in its published format: reading, windows of dates, judging."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate import benchmarks
from evolcoder.evaluate.benchmarks import load_benchmark, named_set
from evolcoder.evaluate.overlap import benchmark_of_folder, evaluation_folder, names_overlap, score_notices
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.recipe import recipe_from_data
from evolcoder.records import Sample, Verdict
from evolcoder.sandbox import Sandbox

V1 = "livecodebench@v1"


def cases(kind: str, *pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"input": given, "output": wanted, "testtype": kind} for given, wanted in pairs]


def compressed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def row(id_: str, day: str, public: Sequence[Any], hidden: str, **further: str) -> dict[str, str]:
    return {
        "question_title": id_,
        "question_content": f"The task {id_}, in words.",
        "platform": "atcoder",
        "question_id": id_,
        "contest_id": "own",
        "contest_date": f"{day}T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps(public),
        "private_test_cases": hidden,
        "metadata": "{}",
        **further,
    }


STDIN = cases("stdin", ("1 2\n", "3\n"))
ADD = row(
    "own_add", "2024-05-04", STDIN, compressed(json.dumps(cases("stdin", ("4 5\n", "9"), ("2 -2", "0"))))
)
HALF = row("own_half", "2024-08-01", cases("stdin", ("3", "1.5")), "[]")
TURN = row(
    "101",
    "2025-01-15",
    cases("functional", ("[1, 2]\n1", "[2, 1]")),
    json.dumps(cases("functional", ("[3, 4, 5]\n2", "[5, 4, 3]"))),
    metadata=json.dumps({"func_name": "turn"}),
    starter_code="class Solution:\n    def turn(self, a: List[int], k: int) -> List[int]:\n        ",
    platform="leetcode",
    difficulty="hard",
)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the first release, with three problems of our own."""
    monkeypatch.setenv("EVOLCODER_DATA", str(tmp_path))
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    return written(tmp_path, ADD, HALF, TURN)


def written(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "livecodebench" / "test.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    benchmarks._published.cache_clear()  # a published file does not change under a process
    return path


def verdicts(task_id: str, programs: list[str], timeout_s: float = 6.0) -> list[Verdict]:
    samples = [Sample(task_id, i, "", program) for i, program in enumerate(programs)]
    settings = ScoringSettings(timeout_s=timeout_s)
    with Sandbox(workers=1) as sandbox:
        judged = judge_samples(samples, load_benchmark(V1), settings=settings, sandbox=sandbox)
        return [judgement.verdict for judgement in judged]


def test_programs_read_stdin_in_every_way_that_python_has() -> None:
    programs = [
        "a, b = map(int, input().split())\nprint(a + b)",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "import os\nprint(sum(map(int, os.read(0, 99).split())))",
        "print(sum(map(int, open(0).read().split())))",
        "def main():\n    print(sum(map(int, stdin.buffer.readline().split())))\n"
        "if __name__ == '__main__': main()",
        "print(sum(map(int, input().split())))\nexit()",
        "from __future__ import annotations\nprint(reduce(add, map(int, input().split())), '\\n')",
    ]
    found = verdicts("own_add", programs)
    assert [v.reason for v in found] == ["passed"] * len(programs), [v.detail for v in found]
    assert {v.tier for v in found} == {"batch"}


def test_wrong_programs_are_told_apart_by_the_hidden_tests() -> None:
    programs = ["print(3)", "input()\nprint(3)\nprint()", "1 / 0", "print(", "import os\nos._exit(0)"]
    found = verdicts("own_add", programs)
    assert [v.reason for v in found] == ["failed", "failed", "failed", "syntax error", "exited"]
    assert found[0].detail == "test 1: expected '9', got '3'"
    (slow,) = verdicts("own_add", ["while True: pass"], timeout_s=0.5)
    assert slow.reason == "timeout"


def test_numbers_are_compared_as_decimals_and_words_as_text() -> None:
    right, wrong, words = verdicts("own_half", ["print('1.50')", "print(1.51)", "print('one and a half')"])
    assert (right.passed, wrong.passed, words.passed) == (True, False, False)


def test_a_method_of_solution_is_called_and_may_return_a_tuple() -> None:
    body = "class Solution:\n    def turn(self, a: List[int], k):\n        return "
    given = [body + "a[::-1]", body + "tuple(reversed(a))", "def turn(a, k):\n    return a[::-1]", body + "a"]
    assert [v.passed for v in verdicts("101", given)] == [True, True, True, False]


def test_a_model_gets_the_published_question_and_its_last_block_is_judged() -> None:
    benchmark = load_benchmark(V1)
    add, turn = benchmark.by_task["own_add"], benchmark.by_task["101"]
    (asked,) = benchmark.ask(add, "chat").prompt
    assert asked.content.startswith("You are an expert Python programmer.")  # type: ignore[union-attr]
    assert "### Question:\nThe task own_add, in words.\n" in asked.content  # type: ignore[union-attr]
    assert "# YOUR CODE HERE" in asked.content  # type: ignore[union-attr]
    assert "def turn(self" in benchmark.question(turn) and "STDOUT" not in benchmark.question(turn)
    answer = "First\n```python\nprint(1)\n```\nthen\n```python\nprint(2)\n```\n"
    assert benchmark.sample(add, 0, answer, "auto").program.strip() == "print(2)"
    assert [benchmark.groups(p) for p in (add, turn)] == [("easy", "atcoder"), ("hard", "leetcode")]


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harmed"),)

    path = written(tmp_path, {**ADD, "private_test_cases": compressed(Harmful())})
    with pytest.raises(DataError, match=r"test.jsonl: problem own_add: its tests .* one string is expected"):
        verdicts("own_add", ["print(3)"])
    assert path.exists() and not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ("AAAA", "neither JSON nor compressed"),
        (compressed(json.dumps({})), "a list of tests is expected"),
        (compressed(["[]", "[]"]), "one string is expected"),
        (compressed(json.dumps([{"input": "1"}])), "'output'"),
    ],
)
def test_hidden_tests_of_another_form_are_named(tmp_path: Path, hidden: str, said: str) -> None:
    written(tmp_path, {**ADD, "private_test_cases": hidden})
    with pytest.raises(DataError, match=f"problem own_add: its tests cannot be read .*{said}"):
        verdicts("own_add", ["print(3)"])


def test_a_file_of_another_form_is_named_with_its_line(tmp_path: Path) -> None:
    written(tmp_path, ADD, {"question_id": "x"})
    with pytest.raises(DataError, match=r"test.jsonl: line 2: not a row of LiveCodeBench: question_title, "):
        load_benchmark(V1)
    written(tmp_path, ADD, ADD)
    with pytest.raises(DataError, match="1 problems stand twice"):
        load_benchmark(V1)


def test_a_score_names_the_files_that_it_was_measured_on(tmp_path: Path) -> None:
    first = load_benchmark(V1).version
    assert first.startswith("v1 ") and len(first) == 11
    written(tmp_path, ADD, HALF)
    assert load_benchmark(V1).version != first


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        (V1, ["own_add", "own_half", "101"]),
        ("livecodebench:2024-08-01..@v1", ["own_half", "101"]),
        ("livecodebench:..2024-08-01@v1", ["own_add", "own_half"]),
        ("livecodebench:2024-05-05..2025-01-14@v1", ["own_half"]),
    ],
)
def test_a_window_keeps_the_problems_of_its_days(name: str, ids: list[str]) -> None:
    benchmark = load_benchmark(name)
    assert [problem.task_id for problem in benchmark.problems] == ids
    assert f"{benchmark.name}@v1" == name
    assert benchmark_of_folder(evaluation_folder(name)) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("livecodebench:2026-01-01..@v1", "none of its problems, from 2024-05-04 to 2025-01-15, is of it"),
        ("livecodebench:2024-02-30..@v1", "day is out of range"),
        ("livecodebench:2025-01-01..2024-01-01@v1", "ends before it begins"),
        ("humaneval:2024-01-01..", "the problems of humaneval have no dates"),
        ("livecodebench:2024@v1", "is not known"),
    ],
)
def test_a_window_that_cannot_be_is_told(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_benchmark(name)


def test_windows_that_do_not_meet_share_no_problems() -> None:
    assert not names_overlap("livecodebench:..2024-07-31", "livecodebench:2024-08-01..@v5")
    assert names_overlap("livecodebench:..2024-08-01", "livecodebench:2024-08-01..")
    assert names_overlap("livecodebench@v5", "livecodebench:2024-08-01..")
    assert (named_set(V1).size, named_set("livecodebench:2024-08-01..").size) == (400, 0)


def test_score_takes_the_window_from_its_options(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text(json.dumps({"task_id": "own_half", "completion": "print(int(input()) / 2)"}) + "\n")
    window = ["--from", "2024-05-05", "--to", "2024-12-31"]
    command = ["score", str(samples), "--benchmark", V1, "--no-cache", "--json"]
    done = CliRunner().invoke(cli, [*command, *window], catch_exceptions=False)
    (score,) = [s for s in json.loads(done.stdout)["scores"] if "(" not in s["benchmark"]]
    assert score["benchmark"].startswith("livecodebench:2024-05-05..2024-12-31 v1 ")
    assert (score["value"], score["n_problems"]) == (1.0, 1)
    done = CliRunner().invoke(cli, ["score", str(samples), "-b", "livecodebench:..2025-01-01", *window])
    assert "leave out --from and --to" in str(done.exception)


def test_a_recipe_tells_of_problems_older_than_its_base_model() -> None:
    def notice(released: str | None, benchmark: str) -> str:
        data = {"name": "run", "base": {"released": released}, "evaluate": {"benchmarks": [benchmark]}}
        recipe = recipe_from_data(data, "here")
        return score_notices("mbpp-400", recipe.evaluate.benchmarks, "decline", recipe.base.released)

    older = "livecodebench:2024-08-01..2025-02-01"
    assert notice("2024-11-12", older) == (
        "The base model was published on 2024-11-12: it may have seen the problems of "
        f"{older} that are older."
    )
    assert notice("2024-11-12", "livecodebench") != ""
    assert notice("2024-08-01", older) == ""
    assert notice(None, older) == ""
    assert notice("2024-11-12", "humaneval") == ""
