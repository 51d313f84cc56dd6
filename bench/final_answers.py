"""Whether the oracles of GSM8K and MATH-500 pass every reference, and how math-verify tells 200 own pairs and
other spellings apart.

Usage: EVOLCODER_DATA=FOLDER python -m bench.final_answers
"""

from __future__ import annotations

import time

from tests.evaluate.math_answers import PAIRS, SIBLINGS

from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.benchmarks.final_answers import FinalAnswers
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.records import Problem, Sample
from evolcoder.sandbox import Sandbox


def judged(benchmark: Benchmark, solutions: list[str], oracle: str) -> list[bool]:
    """Judge one solution of each problem; print those that fail, the count and the time."""
    begun = time.monotonic()
    samples = [
        Sample(problem.task_id, 0, text, text, whole=True)
        for problem, text in zip(benchmark.problems, solutions, strict=True)
    ]
    settings = ScoringSettings(oracle=oracle)
    with Sandbox(2) as sandbox:
        found = list(judge_samples(samples, benchmark, settings=settings, sandbox=sandbox))
    seconds, cpu_s = time.monotonic() - begun, sum(one.verdict.cpu_s for one in found)
    right = [one.verdict.passed for one in found]
    told = f"{sum(right)} of {len(right)} pass, {seconds:.1f} s, {cpu_s:.1f} s of CPU"
    print(f"{benchmark.title}, {oracle}: {told}", flush=True)
    return right


def main() -> None:
    """Print the counts."""
    for name in ("gsm8k", "math500"):
        benchmark = load_benchmark(name)
        for oracle in benchmark.oracles:
            references = [problem.canonical_solution for problem in benchmark.problems]
            right = judged(benchmark, references, oracle)
            for problem, passed in zip(benchmark.problems, right, strict=True):
                if not passed:
                    print(f"  {problem.task_id}: {problem.tests}")
    as_boxed = [(expected, f"So it is $\\boxed{{{given}}}$.", equal) for expected, given, equal in PAIRS]
    for name, rows in (("pairs", as_boxed), ("spellings", SIBLINGS)):
        problems = tuple(Problem(f"{name}/{n}", name, "?", "", e) for n, (e, _, _) in enumerate(rows))
        right = judged(FinalAnswers(name, "", problems), [text for _, text, _ in rows], "math-verify")
        wrong = [row for row, passed in zip(rows, right, strict=True) if passed is not row[2]]
        print(f"{name} that are told wrongly: {len(wrong)} of {len(rows)} {wrong}")


if __name__ == "__main__":
    main()
