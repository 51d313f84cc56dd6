"""Answers that are meant to run code, to stall the comparison, or to be right whatever is expected."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from evolcoder.answer_equality import equality_job
from evolcoder.errors import SandboxError
from evolcoder.evaluate.benchmarks.final_answers import FinalAnswers
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.extraction.final_answers import final_answer, last_boxed, normalised, written_alike
from evolcoder.records import Problem, Verdict
from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import InProcessJob, Limits

CODE = (
    "__import__('os').system('canary')",
    "open('canary','w')",
    "exec('canary')",
    "eval(\"__import__('os').popen('canary')\")",
    "().__class__.__bases__[0].__subclasses__()",
    "Symbol('canary').__class__",
    "lambda: canary",
    "raise SystemExit",
    "exit()",
    "os._exit(0)",
    "'''+canary+'''",
    "{expected}",
    "1;import canary",
)
PLACES = (
    "%s",
    "$%s$",
    "\\boxed{%s}",
    "\\boxed{\\text{%s}}",
    "\\boxed{\\operatorname{%s}}",
    "\\boxed{\\{%s, 18\\}}",
    "\\boxed{18 + %s}",
    "The answer is: %s",
    "The answer is: 1+%s",
    "\\[%s\\]",
)
WATCH = """
import sys
class Ran(BaseException):
    pass
def watch(event, arguments):
    if event in ("os.system", "os.exec", "os.fork", "subprocess.Popen"):
        raise Ran(event)
    if event in ("open", "import", "compile", "exec") and "canary" in repr(arguments):
        raise Ran(event)
sys.addaudithook(watch)
"""
BOMBS = (
    "\\boxed{9^{9^{9^{9}}}}",
    "9**9**9**9",
    "\\boxed{((10!)!)!}",
    "\\boxed{\\binom{10^9}{5\\cdot 10^8}}",
    "\\boxed{" + "(" * 1900 + "1" + ")" * 1900 + "}",
    "\\boxed{" + "\\sin(" * 300 + "1" + ")" * 300 + "}",
    "\\boxed{(a+b+c+d+e+f+g)^{50}}",
)
EVERYTHING = (
    "\\boxed{x}",
    "\\boxed{0=0}",
    "\\boxed{x < 100}",
    "\\boxed{\\frac{0}{0}}",
    "\\boxed{nan}",
    "\\boxed{\\mathbb{R}}",
    "\\boxed{(-\\infty,\\infty)}",
    "\\boxed{\\pm 18}",
    "\\boxed{}",
    "\\boxed{17,18,19}",
    "\\boxed{17 \\text{ or } 18}",
    "\\boxed{17 + ? 18}",
    "\\boxed{1 18}",
    "#### 17, not 18",
    "The answer is: 17 or 18",
    "The answer is: between 17 and 18",
)
LONG = (
    "\\boxed{" * 140_000,
    "\\boxed{" * 7_000 + "1" + "}" * 7_000,
    "{" * 200_000,
    "1" * 200_000,
    "1 " + " " * 200_000 + "1/2",
    "answer " * 30_000,
    "<answer>" * 30_000,
    "####" * 50_000,
    "$" * 200_000,
    "\\" * 200_000,
    "1,000" * 40_000,
    "√(" * 100_000,
    "\\text{" * 30_000,
    "The answer is: 1" + " 000" * 50_000,
)


def verdicts(jobs: list[InProcessJob]) -> list[Verdict]:
    pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
    try:
        with Sandbox(2) as sandbox:
            return [outcome.verdict for _, outcome in sorted(sandbox.run_many(enumerate(jobs)))]
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")


def compared(text: str, expected: str = "18", cpu_s: float = 5.0) -> InProcessJob:
    job = equality_job(expected, text, Limits(cpu_s=cpu_s, memory_bytes=1 << 30))
    assert isinstance(job, InProcessJob)
    return job


def test_no_answer_runs_code_and_none_of_them_is_right() -> None:
    pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
    jobs = [compared(place % code) for place in PLACES for code in CODE]
    found = verdicts([replace(job, program=WATCH + job.program) for job in jobs])

    assert [v.detail for v in found if "Ran" in v.detail] == []
    assert [job.program for job, verdict in zip(jobs, found, strict=True) if verdict.passed] == []
    assert {verdict.tier for verdict in found} == {"in-process"}


def test_the_watch_sees_code_that_runs() -> None:
    job = compared("\\boxed{18}")
    (ran, alone) = verdicts(
        [replace(job, program=f"{WATCH}\ncompile('canary', '', 'eval')"), replace(job, program=WATCH)]
    )
    assert "Ran" in ran.detail
    assert "Ran" not in alone.detail


def test_an_answer_that_explodes_costs_its_limit_and_fails() -> None:
    pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
    found = verdicts([compared(text, cpu_s=1.0) for text in BOMBS])

    assert {verdict.reason for verdict in found} <= {"timeout", "memory", "failed"}
    assert max(verdict.cpu_s for verdict in found) < 1.5


def test_no_answer_is_right_whatever_is_expected() -> None:
    pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
    assert [v.passed for v in verdicts([compared(text) for text in EVERYTHING])] == [False] * len(EVERYTHING)


def test_long_answers_cost_the_scorer_nothing() -> None:
    benchmark = FinalAnswers("own", "", (Problem("own/0", "own", "?", "", "18"),))
    for text in LONG:
        begun = time.process_time()
        sample = benchmark.sample(benchmark.problems[0], 0, text, "auto")
        benchmark.vote(benchmark.problems[0], sample)
        last_boxed(text)
        written_alike(normalised(text), final_answer(text))
        benchmark.verdict_at_once(benchmark.problems[0], f"The answer is: {text}", "wizardmath", "base")
        compared(text)
        assert time.process_time() - begun < 2, text[:20]


def test_a_long_answer_goes_through_the_scorer() -> None:
    pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
    benchmark = FinalAnswers("own", "", (Problem("own/0", "own", "?", "", "18"),))
    samples = [
        benchmark.sample(benchmark.problems[0], n, text, "auto")
        for n, text in enumerate((LONG[0] + "\\boxed{18}", "\n" * 200_000 + "#### 18"))
    ]
    try:
        with Sandbox(1) as sandbox:
            judged = judge_samples(
                samples, benchmark, settings=ScoringSettings(oracle="math-verify"), sandbox=sandbox
            )
            assert [judgement.verdict.passed for judgement in judged] == [True, True]
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")
