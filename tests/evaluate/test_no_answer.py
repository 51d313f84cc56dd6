"""A sample without an answer fails without being run, and the score says how many there are."""

from __future__ import annotations

from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.scoring import judge_samples
from evolcoder.records import Problem, Sample
from evolcoder.sandbox import Sandbox


def test_an_absent_answer_fails_where_an_empty_one_would_pass() -> None:
    whole = "def f(x):\n    return 2 * x\n\n"
    mine = AssertionBenchmark("mine", "", (Problem("A/1", "mine", whole, "f", "assert f(2) == 4\n"),))
    samples = [Sample("A/1", 0, "", ""), Sample("A/1", 1, "", "", absent="length")]
    with Sandbox(workers=1) as sandbox:
        judged = list(judge_samples(samples, mine, sandbox=sandbox))
    assert [(j.verdict.passed, j.verdict.reason, j.verdict.detail) for j in judged] == [
        (True, "passed", ""),
        (False, "no answer", "length"),
    ]
