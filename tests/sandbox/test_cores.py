"""Workers spread over the cores, those of other processes too; programs may use every core."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import CallJob, StdioJob
from evolcoder.sandbox.sandbox import CoreClaim

needs_two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
CLAIM_AND_WAIT = """
import sys
from evolcoder.sandbox.sandbox import CoreClaim
claim = CoreClaim(sys.argv[1])
print(claim.core, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def names() -> str:
    return f"test-{uuid.uuid4()}"  # other runs on this machine claim cores too


@needs_two
def test_claims_spread_evenly_and_come_back(names: str) -> None:
    cores = os.sched_getaffinity(0)
    claims = [CoreClaim(names) for _ in range(3 * len(cores))]
    held = [claim.core for claim in claims]
    assert {core: held.count(core) for core in cores} == dict.fromkeys(cores, 3)
    claims[4].close()
    assert CoreClaim(names).core == held[4]
    for claim in claims:
        claim.close()


@needs_two
def test_a_claim_of_another_process_counts_until_that_process_is_killed(names: str) -> None:
    command = [sys.executable, "-c", CLAIM_AND_WAIT, names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        first = int(other.stdout.readline())
        second = CoreClaim(names)
        assert second.core not in (first, None)
        other.kill()
    third = CoreClaim(names)
    assert third.core == first
    second.close()
    third.close()


def test_a_program_may_use_every_core(sandbox: Sandbox) -> None:
    every = sorted(os.sched_getaffinity(0))
    seen = sandbox.run(StdioJob("import os; print(sorted(os.sched_getaffinity(0)))"))
    assert seen.stdout.decode().strip() == str(every)
    program = "import os\ndef f(): return sorted(os.sched_getaffinity(0))"
    assert sandbox.run(CallJob(program, "f", f"assert candidate() == {every}")).verdict.passed
