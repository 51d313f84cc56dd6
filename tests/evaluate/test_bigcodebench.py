"""BigCodeBench: what is asked, its parts and releases, and how solutions are judged in their environment."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import Benchmark, environment_spec, load_benchmark, problem_texts
from evolcoder.evaluate.benchmarks.bigcodebench import problems
from evolcoder.evaluate.benchmarks.environments import find_environment
from evolcoder.evaluate.overlap import names_overlap
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.records import Sample
from evolcoder.sandbox import Sandbox

NAMES = ["bigcodebench", "bigcodebench:instruct", "bigcodebench:hard", "bigcodebench:hard-instruct"]


@pytest.fixture
def bigcodebench(benchmark_data: Path) -> Benchmark:
    return load_benchmark("bigcodebench")


@pytest.fixture(scope="module")
def environment() -> None:
    """Skip unless the environment was built."""
    try:
        find_environment(environment_spec("bigcodebench"))
    except UserError as error:
        pytest.skip(f"needs the environment of BigCodeBench: evolcoder setup bigcodebench ({error})")


@pytest.mark.usefixtures("bigcodebench")
def test_its_parts_have_their_published_sizes_and_share_their_tasks() -> None:
    assert [len(load_benchmark(name).problems) for name in NAMES] == [1140, 1140, 148, 148]
    assert load_benchmark("bigcodebench:hard").problems[0].task_id == "BigCodeBench/13"
    assert {text.benchmark for text in problem_texts(NAMES)} == {"bigcodebench"}
    assert len(problem_texts(NAMES)) == 1140
    assert names_overlap("bigcodebench:hard", "bigcodebench:instruct@v0.1.4")


def test_hard_tasks_fit_what_is_published_of_them(bigcodebench: Benchmark) -> None:
    hard = [p for p in bigcodebench.problems if int(p.task_id.rpartition("/")[2]) in problems.HARD]
    assert len(hard) == 148
    assert all(len(p.canonical_solution) > 426 for p in hard)


def test_a_base_model_continues_the_function_and_a_chat_model_gets_the_published_question(
    bigcodebench: Benchmark,
) -> None:
    problem = bigcodebench.by_task["BigCodeBench/500"]
    asked = bigcodebench.ask(problem, "completion")
    assert str(asked.prompt).startswith("import xlwt\n") and "\ndef " in asked.stop
    for name, begins in (("bigcodebench", "```\nimport xlwt"), ("bigcodebench:instruct", "Writes a list of")):
        benchmark = load_benchmark(name)
        (message,) = benchmark.ask(benchmark.by_task[problem.task_id], "chat").prompt
        content = message.content  # type: ignore[union-attr]
        assert content.startswith("Please provide a self-contained Python script that solves the following")
        assert content.partition("block:\n")[2].startswith(begins)
    with pytest.raises(UserError, match="bigcodebench:instruct asks in words: --style chat"):
        benchmark.ask(benchmark.problems[0], "completion")


def test_a_whole_solution_may_leave_out_the_imports_that_it_was_given(bigcodebench: Benchmark) -> None:
    problem = bigcodebench.by_task["BigCodeBench/0"]
    alone = bigcodebench.program(
        problem, Sample(problem.task_id, 0, "", "def task_func(): ...\n", whole=True)
    )
    assert alone.startswith("import itertools\nfrom random import shuffle\n")
    assert alone.endswith("\n    pass\ndef task_func(): ...\n")
    goes_on = bigcodebench.program(problem, Sample(problem.task_id, 0, "", "    return 1\n"))
    assert goes_on == problem.prompt + "    return 1\n"


def test_the_leaderboard_s_release_is_read_in_its_form_and_named_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "task_id": "BigCodeBench/13",
        "complete_prompt": 'import re\ndef task_func(text):\n    """Return the words, sorted."""\n',
        "instruct_prompt": "Return the words of a text, sorted.",
        "code_prompt": "import re\ndef task_func(text):\n",
        "canonical_solution": "    return sorted(text.split())\n",
        "test": "import unittest\nclass TestCases(unittest.TestCase): pass\n",
        "entry_point": "task_func",
    }
    path = tmp_path / "bigcodebench" / "BigCodeBench-v0.1.4.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    monkeypatch.setenv("EVOLCODER_DATA", str(tmp_path))
    benchmark = problems.load("bigcodebench:hard-instruct@v0.1.4")
    assert benchmark.name == "bigcodebench:hard-instruct"
    assert benchmark.version.startswith("v0.1.4 ") and len(benchmark.version) == 15
    assert benchmark.problems[0].prompt == row["instruct_prompt"]


@pytest.mark.usefixtures("environment")
def test_solutions_are_judged_right(bigcodebench: Benchmark) -> None:
    right = ["BigCodeBench/1", "BigCodeBench/13", "BigCodeBench/500", "BigCodeBench/1101"]
    attempts = {
        "    return {}\n": "failed",
        "    return (\n": "syntax error",
        "    import os; os._exit(0)\n": "exited",
        "    raise SystemExit(0)\n": "failed",
        "    while True: pass\n": "timeout",
    }
    samples = [Sample(task_id, 0, "", bigcodebench.by_task[task_id].canonical_solution) for task_id in right]
    samples += [Sample("BigCodeBench/1", i, "", code) for i, code in enumerate(attempts, 1)]
    with Sandbox(workers=1) as sandbox:
        judged = judge_samples(
            samples, bigcodebench, settings=ScoringSettings(timeout_s=5.0), sandbox=sandbox
        )
        verdicts = [judgement.verdict for judgement in judged]
    assert [v.detail for v in verdicts[: len(right)]] == [""] * len(right)
    assert {v.tier for v in verdicts if v.reason != "syntax error"} == {"in-process"}
    found = dict(zip(attempts, (v.reason for v in verdicts[len(right) :]), strict=True))
    assert found["    raise SystemExit(0)\n"] in ("failed", "exited")
    assert {**found, "    raise SystemExit(0)\n": "failed"} == attempts
    assert "test_" in verdicts[len(right)].detail
