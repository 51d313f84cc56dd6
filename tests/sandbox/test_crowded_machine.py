"""On a machine where all wait for a processor a verdict is the one of an idle machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import CallJob, Job, Limits, StdioJob

LIMITS = Limits(cpu_s=0.15, wall_s=0.2)
SAME = "def f(x): return x"
LONG_TESTS = "for i in range(20):\n    sum(range(200_000))\n    assert f(i) == i\n"
IN_A_THREAD = "import threading\nthread = threading.Thread(target={of})\nthread.start()\nthread.join()"
JOBS: dict[str, tuple[Job, str]] = {
    "a right answer with long tests": (CallJob(SAME, "f", LONG_TESTS, LIMITS, trusted_tests=True), "passed"),
    "the same, tests of their own process": (CallJob(SAME, "f", LONG_TESTS, LIMITS), "passed"),
    "tests that never end": (CallJob(SAME, "f", "while True: f(1)", LIMITS, trusted_tests=True), "timeout"),
    "an endless loop": (CallJob("def f(x):\n  while True: pass", "f", "f(1)", LIMITS), "timeout"),
    "sleep": (CallJob("import time\ndef f(x): time.sleep(99)", "f", "f(1)", LIMITS), "timeout"),
    "a thread that works": (
        StdioJob(IN_A_THREAD.format(of="lambda: sum(range(15_000_000))"), limits=replace(LIMITS, cpu_s=1.0)),
        "passed",
    ),
}


@pytest.fixture(scope="module")
def crowded(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A sandbox on a core that it shares with six others."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    others = []
    try:
        with Sandbox(workers=1) as pool:
            for job in (CallJob(SAME, "f", "f(1)"), CallJob(SAME, "f", "f(1)", trusted_tests=True)):
                assert pool.run(job).verdict.passed  # its containers stand
            for _ in range(6):
                loop = [sys.executable, "-c", "while True: pass"]
                others.append(subprocess.Popen(loop, start_new_session=True))
            time.sleep(0.5)
            yield pool
    finally:
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("case", JOBS)
def test_the_verdict_is_that_of_an_idle_machine(crowded: Sandbox, case: str) -> None:
    job, reason = JOBS[case]
    verdict = crowded.run(job).verdict
    assert verdict.reason == reason, verdict
