"""What programs that stall the judge cost it, and the worker beside them.

    python bench/stallers.py [--rounds N] [--seconds S]

Each of the programs makes what it sends slow or large: to make, to compare, or to read. Shown are its
verdict, the CPU seconds of its own processes and of the judge's, by how much this process grew, and how many
programs the other worker judges meanwhile: against its rate beside a program that sleeps, and beside one that
only uses up its own time. What allocates memory anew all the time is set beside one that does that and no
more: cores share the memory and its caches, which nothing here can divide. They take turns; the figures are
medians of the rounds' ratios. Ends with 1 where a program passes, costs more than its limit and a second (in
its own processes, or in the judge's), grows this process by over 64 MiB, or slows the other worker by 10%
more than a program that sends nothing.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import sys
import threading
import time
from functools import partial

from evolcoder.evaluate.benchmarks.evalplus_oracles import Expectation, ValueComparison
from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import BatchComparison, BatchJob, CallJob, Job, Limits, StdioJob
from sandbox import PROGRAM, TESTS, tree_cpu_s

LIMITS = Limits(cpu_s=1.0)
MOST_SLOWED, MOST_GROWN_MIB = 0.10, 64
MOST_CPU_S = LIMITS.cpu_s + 1
COLLIDING = "[k * (2**61 - 1) for k in range(5, {most})]"
"""Their hashes are all 0, so a set of them takes quadratic time."""


def compared(program: str, expected: object, entry_point: str = "f", dataset: str = "humaneval") -> BatchJob:
    wanted = Expectation(dataset, entry_point, 1e-6, (((1,), (2,)),), (expected,))
    comparison = BatchComparison(program, partial(ValueComparison, "evalplus", wanted))
    return BatchJob(program, entry_point, (((1,), (2,)),), LIMITS, comparison=comparison)


def returning(value: str, imports: str = "") -> str:
    return f"{imports}\ndef f(*arguments):\n    return {value}\n"


STALLERS: dict[str, Job] = {
    "a list for an oracle that makes a set": compared(
        f"def similar_elements(a, b):\n    return {COLLIDING.format(most=400000)}\n",
        (4, 5),
        "similar_elements",
        "mbpp",
    ),
    "a set of colliding hashes": compared(returning(f"set({COLLIDING.format(most=10000)})"), {1}),
    "a set made by the tests": CallJob(
        returning(COLLIDING.format(most=400000)), "f", "assert set(f(1)) == {1}", LIMITS, trusted_tests=True
    ),
    "the exponent of a fraction": compared(
        returning("E()", "class E:\n    def __str__(s): return '1e1000000000'\nE.__module__ = 'fractions'"),
        1.5,
    ),
    "a power of a decimal": compared(returning("D('1e999999999')", "from decimal import Decimal as D"), 1.5),
    "a long string among floats": compared(returning("['x' * 10**7] + ['a'] * 9"), [1.5] * 10),
    "millions of empty lists": compared(returning("[[] for _ in range(3 * 10**6)]"), [1]),
    "a deep tuple": CallJob(
        returning("t(10**6)", "def t(n):\n    x = ()\n    for _ in range(n): x = (x,)\n    return x"),
        "f",
        "assert f(1) == ()",
        LIMITS,
        trusted_tests=True,
    ),
    "a large array": compared(returning("n.zeros((10**5, 10**4))", "import numpy as n"), 1.5),
    "an endless iterator": CallJob(
        returning("iter(int, 1)"), "f", "assert 2 in f(1)", LIMITS, trusted_tests=True
    ),
    "output without end": StdioJob("while True: print('x' * 10**6)", b"", LIMITS),
}


SLEEPER = StdioJob("import time; time.sleep(0.2)", b"", LIMITS)
BURNER = StdioJob("while True: pass", b"", LIMITS)
BUSY = {"millions of empty lists": StdioJob("while True: x = [[] for _ in range(3 * 10**6)]", b"", LIMITS)}
"""What keeps a core as busy as a staller does, and sends nothing, where that is not `BURNER`."""


def neighbours_rate(sandbox: Sandbox, staller: Job, seconds: float) -> float:
    """Return how many programs the other worker judges while the other is kept by `staller`."""
    began, over = threading.Event(), threading.Event()

    def keep_busy() -> None:
        began.set()
        while not over.is_set():
            until = time.monotonic() + LIMITS.cpu_s
            sandbox.run(staller)
            over.wait(
                until - time.monotonic()
            )  # one that is over soon is no more often there than the others

    other = threading.Thread(target=keep_busy)
    other.start()
    began.wait()
    time.sleep(0.05)
    quick = ((n, CallJob(PROGRAM, "f", TESTS, trusted_tests=True)) for n in itertools.count())
    start, judged = time.monotonic(), 0
    for _, outcome in sandbox.run_many(quick, ahead=2):
        assert outcome.verdict.passed, outcome.verdict
        judged += 1
        if time.monotonic() - start > seconds:
            break
    rate = judged / (time.monotonic() - start)
    over.set()
    other.join()
    return rate


def costs(sandbox: Sandbox, job: Job) -> tuple[str, float, float, int]:
    """Return (verdict, CPU seconds of the program, of the judge, MiB that this process grew by)."""
    grown, used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, tree_cpu_s()
    verdict = sandbox.run(job).verdict
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
    judge_s = tree_cpu_s() - used - verdict.cpu_s
    return "passed" if verdict.passed else verdict.reason, verdict.cpu_s, judge_s, grown >> 10


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    failed = False
    with Sandbox(workers=2) as sandbox:
        print(f"level {sandbox.level}, limit {LIMITS.cpu_s:.0f} s of CPU")
        neighbours_rate(sandbox, SLEEPER, options.seconds)  # starts the containers
        for name, job in STALLERS.items():
            sandbox.run(job)
            reason, cpu_s, judge_s, grown = costs(sandbox, job)
            others = (SLEEPER, BURNER, BUSY.get(name, BURNER), job)
            rates = [
                [neighbours_rate(sandbox, other, options.seconds) for other in others]
                for _ in range(options.rounds)
            ]
            beside = [statistics.median(round_[3] / round_[place] for round_ in rates) for place in range(3)]
            cost = f"{cpu_s:5.2f} s of CPU, judge {judge_s:5.2f} s, +{grown} MiB"
            told = "{:.2f} of beside a sleeper, {:.2f} a burner".format(*beside)
            told += f", {beside[2]:.2f} what allocates as much" if name in BUSY else ""
            print(f"{name:40} {reason:12} {cost}, neighbour {told}", flush=True)
            failed |= reason == "passed" or max(cpu_s, judge_s) > MOST_CPU_S
            failed |= grown > MOST_GROWN_MIB or beside[2] < 1 - MOST_SLOWED
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
