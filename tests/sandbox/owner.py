"""Owns a sandbox and runs programs until it is killed; prints "running" once they run."""

from __future__ import annotations

import sys

from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import CallJob, Limits, StdioJob

LONG = Limits(cpu_s=30.0)
LEAVES = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        time.sleep(99)
time.sleep(99)
"""

with Sandbox(workers=2) as sandbox:
    square = CallJob("def f(x): return x", "f", "assert f(1) == 1", trusted_tests=True)
    for _, outcome in sandbox.run_many([(i, square) for i in range(4)]):
        assert outcome.verdict.passed, outcome
    print("running", flush=True)
    jobs = [(0, StdioJob(LEAVES, limits=LONG)), (1, StdioJob("while True: pass", limits=LONG))]
    list(sandbox.run_many(jobs))
    sys.exit("the programs ended before the owner was killed")
