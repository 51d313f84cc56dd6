"""What the sandbox costs and holds: CPU time a program, a soak for leaks, and the crowded machine.

python bench/sandbox.py                 CPU milliseconds and programs a second, by kind of job
python bench/sandbox.py --soak 20000    many programs, then descriptors, processes, mounts, memory compared
python bench/sandbox.py --crowd         a 1.0 s CPU program under a limit of 3 s at 1, 2, 4, 8, 16 workers
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import BatchJob, CallJob, InProcessJob, Job, Limits, StdioJob

PROGRAM = "from typing import List\n\ndef f(x: int) -> int:\n    return sum(range(x)) + len('a' * x)\n"
TESTS = (
    "def check(c):\n    assert c(2) == 3\n    assert c(3) == 6\n    assert c(10) == 55\n\ncheck(candidate)\n"
)
JOBS: dict[str, Job] = {
    "stdio": StdioJob(PROGRAM + "print(f(10))"),
    "rpc, published tests": CallJob(PROGRAM, "f", TESTS, trusted_tests=True),
    "rpc, tests in a process of their own": CallJob(PROGRAM, "f", TESTS),
    "batch": BatchJob(PROGRAM, "f", ((2,), (3,), (10,))),
    "in-process": InProcessJob(PROGRAM + TESTS.replace("candidate", "f")),
}


def repeated(job: Job, times: int) -> Iterator[tuple[int, Job]]:
    return ((index, job) for index in range(times))


def tree() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def tree_cpu_s() -> float:
    """CPU seconds of this process, its containers, and the programs that ended in them."""
    total = 0.0
    for process in tree():
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def tree_memory_mib() -> float:
    """Proportional memory of the whole tree: shared pages are counted once."""
    return sum(process.memory_full_info().pss for process in tree()) / (1 << 20)


def cost(workers: int, times: int) -> None:
    with Sandbox(workers=workers) as sandbox:
        print(f"level {sandbox.level}, {workers} workers, {times} programs of each kind")
        for name, job in JOBS.items():
            list(sandbox.run_many(repeated(job, 8 * workers)))
            began, used = time.perf_counter(), tree_cpu_s()
            assert all(outcome.verdict.passed for _, outcome in sandbox.run_many(repeated(job, times)))
            wall_s, cpu_s = time.perf_counter() - began, tree_cpu_s() - used
            print(f"{name:38} {cpu_s / times * 1e3:6.2f} CPU ms  {times / wall_s:7.0f} a second")
        print(f"memory of the whole tree: {tree_memory_mib():.0f} MiB")


def standing() -> dict[str, int]:
    """What a leak would raise."""
    mounts = Path("/proc/self/mounts").read_text().count("\n")
    descriptors = sum(process.num_fds() for process in tree())
    files = sum(1 for folder in ("/tmp", "/dev/shm") for _ in Path(folder).glob("evolcoder*"))
    return {"descriptors": descriptors, "processes": len(tree()), "mounts": mounts, "temporary files": files}


def soak(workers: int, times: int) -> int:
    kinds = list(JOBS.values())
    with Sandbox(workers=workers) as sandbox:
        list(sandbox.run_many((i, kinds[i % len(kinds)]) for i in range(100 * workers)))
        before, memory = standing(), tree_memory_mib()
        reasons = Counter(
            outcome.verdict.reason
            for _, outcome in sandbox.run_many((i, kinds[i % len(kinds)]) for i in range(times))
        )
        after, memory_after = standing(), tree_memory_mib()
    print(f"{times} programs: {dict(reasons)}")
    print(f"before {before}, {memory:.1f} MiB")
    print(f"after  {after}, {memory_after:.1f} MiB")
    return 0 if before == after and reasons == {"passed": times} else 1


def crowd() -> int:
    job = InProcessJob("import time\nwhile time.process_time() < 1.0: pass", Limits(cpu_s=3.0))
    worst = 32
    for workers in (1, 2, 4, 8, 16):
        with Sandbox(workers=workers) as sandbox:
            passed = sum(outcome.verdict.passed for _, outcome in sandbox.run_many(repeated(job, 32)))
        print(f"{workers:2} workers: {passed}/32", flush=True)
        worst = min(worst, passed)
    return 0 if worst == 32 else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--times", type=int, default=500)
    parser.add_argument("--soak", type=int, metavar="PROGRAMS")
    parser.add_argument("--crowd", action="store_true")
    options = parser.parse_args()
    if options.soak:
        return soak(options.workers, options.soak)
    if options.crowd:
        return crowd()
    cost(options.workers, options.times)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
