"""Nothing outlives its time: not after `kill -9`, and not after many programs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.sandbox.ordinary_user import prefix

from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import BatchJob, CallJob, InProcessJob, Job, Limits, StdioJob

OWNER = Path(__file__).with_name("owner.py")
WORKERS = 2
"""Of the shared sandbox fixture."""


def kill_owner(command: tuple[str, ...]) -> list[psutil.Process]:
    """Kill an owner in the midst of its work; what of it is still there after a second."""
    owner = subprocess.Popen([*command, sys.executable, str(OWNER)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"running\n"
    time.sleep(0.3)
    below = psutil.Process(owner.pid).children(recursive=True)
    assert len(below) > 8
    owner.kill()
    owner.wait()
    owner.stdout.close()
    time.sleep(1.0)
    return [process for process in below if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """A dead process that the machine's init has not yet waited for is none."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_killing_the_owner_leaves_no_process(sandbox: Sandbox) -> None:
    assert kill_owner(()) == []


def test_killing_an_ordinary_users_owner_leaves_no_process(sandbox: Sandbox) -> None:
    command = prefix()
    if not command:
        pytest.skip("needs root that can become an ordinary user")
    assert kill_owner(command) == []


def standing() -> tuple[int, int, int]:
    """Descriptors, descendants and mounts of this process now."""
    mounts = Path("/proc/self/mounts").read_text().count("\n")
    return (
        sum(1 for _ in Path("/proc/self/fd").iterdir()),
        len(psutil.Process().children(recursive=True)),
        mounts,
    )


def mixed_job(index: int) -> tuple[int, Job]:
    right = "def f(x): return x * x"
    kinds: list[Job] = [
        CallJob(right, "f", "assert f(3) == 9", trusted_tests=True),
        BatchJob(right, "f", ((3,), (4,))),
        InProcessJob("x = [1] * 1000"),
        StdioJob("open('/tmp/x', 'w').write('x'); print(1)"),
        CallJob("import os\ndef f(x): os._exit(1)", "f", "assert f(3) == 9", trusted_tests=True),
        CallJob(right, "f", "assert f(3) == 9"),
    ]
    return index, kinds[index % len(kinds)]


def test_many_programs_leave_nothing(sandbox: Sandbox) -> None:
    list(sandbox.run_many(map(mixed_job, range(120))))  # until every worker has every container
    before = standing()
    outcomes = dict(sandbox.run_many(map(mixed_job, range(300))))
    assert {outcomes[i].verdict.reason for i in outcomes if i % 6 != 4} == {"passed"}
    assert {outcomes[i].verdict.reason for i in outcomes if i % 6 == 4} == {"exited"}
    # Workers keep processes for published tests, and on a crowded machine one may make its last container
    # now: two descriptors each. What a program left would show 50 times, as often as each kind was run.
    until = time.monotonic() + 20
    while abs(standing()[1] - before[1]) > WORKERS and time.monotonic() < until:  # the last ones are ending
        time.sleep(0.1)
    descriptors, processes, mounts = standing()
    assert abs(descriptors - before[0]) < 25
    assert abs(processes - before[1]) < 25
    assert mounts == before[2]


def test_cpu_time_decides_on_a_busy_machine() -> None:
    # Twelve at a time on a few processors: each waits far longer than it computes.
    program = "import time\nwhile time.process_time() < 0.25: pass"
    job = InProcessJob(program, Limits(cpu_s=0.6))
    with Sandbox(workers=12) as crowded:
        outcomes = [outcome.verdict for _, outcome in crowded.run_many([(i, job) for i in range(24)])]
    assert [verdict.reason for verdict in outcomes] == ["passed"] * 24


def test_a_container_that_dies_is_replaced() -> None:
    before = set(psutil.Process().children())
    with Sandbox(workers=1) as lonely:
        assert lonely.run(InProcessJob("pass")).verdict.passed
        (container,) = set(psutil.Process().children()) - before
        container.kill()
        assert lonely.run(InProcessJob("pass")).verdict.passed
