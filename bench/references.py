"""How many reference solutions of a benchmark pass, and why the others do not.

    python bench/references.py bigcodebench cruxeval:output cruxeval:input

Nothing is taken from the verdict cache. BigCodeBench and DS-1000 need their environments (`evolcoder setup`).
"""

from __future__ import annotations

import argparse

from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.scoring import judge_samples
from evolcoder.records import Sample
from evolcoder.sandbox import Sandbox


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("benchmarks", nargs="+", metavar="BENCHMARK")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with Sandbox(workers=options.workers) as sandbox:
        for name in options.benchmarks:
            benchmark = load_benchmark(name)
            samples = [Sample(p.task_id, 0, "", p.canonical_solution) for p in benchmark.problems]
            failed, cpu_s = 0, 0.0
            for judgement in judge_samples(samples, benchmark, sandbox=sandbox):
                verdict = judgement.verdict
                cpu_s += verdict.cpu_s
                if not verdict.passed:
                    failed += 1
                    print(f"    {judgement.sample.task_id}: {verdict.reason}, {verdict.detail[:160]}")
            passed = len(samples) - failed
            print(f"{benchmark.title}: {passed} of {len(samples)} pass, {cpu_s:.0f} s of CPU")
            for setting, value in benchmark.further_settings().items():
                print(f"    {setting}: {value}")


if __name__ == "__main__":
    main()
