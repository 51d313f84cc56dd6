"""A program may replace what is Python's: its failure is told as soon as it is decided, and is no pass."""

from __future__ import annotations

import pytest

from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import BatchJob, CallJob, InProcessJob, Limits, StdioJob

LIMITS = Limits(cpu_s=10.0, wall_s=60.0)
WRONG = "def f(x):\n    return 0\n"
PATCHES = {
    "no bytes written": "import os\nos.write = lambda fd, data: None\n",
    "nothing has a length": "import builtins\nbuiltins.len = lambda x: 0\n",
    "no function can be called": "import builtins\nbuiltins.callable = lambda x: False\n",
    "the end is slow": "import os, time\nos._exit = lambda code: time.sleep(1000)\n",
    "the end is none": "import os\nos._exit = lambda code: None\n",
    "no builtins": "import builtins\nbuiltins.__dict__.clear()\n",
    "no timers": "import signal\nsignal.setitimer = signal.signal = lambda *a: 1 / 0\n",
    "no clock": "import time\ntime.process_time = lambda: time.sleep(1000)\n",
    "nothing unpacked": "import marshal\nmarshal.loads = lambda data: 1 / 0\n",
}


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("trusted", [False, True])
def test_a_wrong_answer_fails_at_its_test(sandbox: Sandbox, patch: str, trusted: bool) -> None:
    job = CallJob(PATCHES[patch] + WRONG, "f", "assert f(1) == 2", LIMITS, trusted_tests=trusted)
    verdict = sandbox.run(job).verdict
    assert (verdict.reason, verdict.detail) == ("failed", "assert f(1) == 2 -> AssertionError")
    assert verdict.wall_s < 30


@pytest.mark.parametrize("patch", PATCHES)
def test_what_it_returns_is_told(sandbox: Sandbox, patch: str) -> None:
    outcome = sandbox.run(BatchJob(PATCHES[patch] + WRONG, "f", ((1,), (2,)), LIMITS))
    assert [value.value for value in outcome.values] == [0, 0] and outcome.verdict.wall_s < 30


@pytest.mark.parametrize("patch", PATCHES)
def test_it_does_not_pass_beside_its_tests(sandbox: Sandbox, patch: str) -> None:
    verdict = sandbox.run(InProcessJob(f"{PATCHES[patch]}{WRONG}\nassert f(1) == 2\n", LIMITS)).verdict
    assert (verdict.reason, verdict.wall_s < 30) == ("failed", True)


def test_a_program_sees_its_own_patches(sandbox: Sandbox) -> None:
    program = "import builtins\nbuiltins.len = lambda x: 41\nbuiltins.mine = 1\n"
    assert sandbox.run(StdioJob(f"{program}print(len('') + mine)\n")).stdout == b"42\n"
    assert sandbox.run(InProcessJob(f"{program}assert len('') + mine == 42\n")).verdict.passed
    answer = f"{program}def f(x):\n    return len(x) + mine\n"
    assert sandbox.run(CallJob(answer, "f", "assert f('') == 42 and len('') == 0")).verdict.passed
