"""Workers that share a core take turns with short programs, whoever dies, leaves, stops or takes long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from evolcoder.sandbox import Sandbox, turns
from evolcoder.sandbox.protocol import Job, StdioJob
from evolcoder.sandbox.turns import Turn
from evolcoder.sandbox.waiting import Wait, Waiting, finished

CORES = len(os.sched_getaffinity(0))
needs_two = pytest.mark.skipif(CORES < 2, reason="needs two processors")
HOLD = """
import sys
from evolcoder.sandbox.turns import Turn
from evolcoder.sandbox.waiting import finished
turn = Turn(0, sys.argv[1])
finished(turn.awaited())
print("held", flush=True)
sys.stdin.readline()
turn.give()
print("given", flush=True)
sys.stdin.read()
"""
STRANGER = """
import os, socket, sys
os.setuid(65534)
asking = socket.socket(socket.AF_UNIX)
asking.connect("\\0" + sys.argv[1])
print("asked", flush=True)
print(socket.recv_fds(asking, 1, 1)[1], flush=True)
"""
BURN = """
import time
begun = time.monotonic()
while time.monotonic() < begun + .004:
    pass
print(begun, time.monotonic())
"""


@pytest.fixture
def names() -> str:
    return f"test-{uuid.uuid4()}"  # other runs on this machine take turns too


@pytest.fixture
def other(names: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which has the turn."""
    command = [sys.executable, "-c", HOLD, names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def in_line(turn: Turn) -> Waiting[None]:
    """Ask for a turn that is not free."""
    asking = turn.awaited()
    assert isinstance(next(asking), Wait)
    return asking


def got(asking: Waiting[None]) -> None:
    """See that a turn has come."""
    with pytest.raises(StopIteration):
        asking.send([0])


def comes(turn: Turn, asking: Waiting[None]) -> None:
    """See that a turn comes after a while."""
    try:
        for _ in range(10_000):
            time.sleep(0.001)
            asking.send([0])
    except StopIteration:
        pass
    assert turn.left_ms() is not None


def test_who_has_waited_longest_is_next(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_SHARE_S", 0.0)
    first, second, third = (Turn(0, names) for _ in range(3))
    assert first.is_to_be_awaited
    finished(first.awaited())
    assert not first.is_to_be_awaited  # nobody else wants it
    seconds, thirds = in_line(second), in_line(third)
    assert first.is_to_be_awaited
    firsts = in_line(first)
    got(seconds)
    second.give()
    got(thirds)
    third.give()
    got(firsts)
    first.give()
    assert second.is_to_be_awaited
    finished(second.awaited())
    second.give()


def test_a_share_is_used_before_others_are_let_in(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_SHARE_S", 1e6)
    first, second = Turn(0, names), Turn(0, names)
    finished(first.awaited())
    seconds = in_line(second)
    assert not first.is_to_be_awaited
    first.give()
    got(seconds)
    second.give()


def test_who_leaves_the_line_is_passed_over(names: str) -> None:
    first, second, third = (Turn(0, names) for _ in range(3))
    finished(first.awaited())
    seconds, thirds = in_line(second), in_line(third)
    seconds.close()
    first.give()
    got(thirds)
    fourth = in_line(first)
    third.give()
    fourth.close()  # it was sent the turn, and did not see it
    finished(second.awaited())
    second.give()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_turn_of_a_process_that_dies_goes_to_who_waits(
    names: str, other: subprocess.Popen[bytes], how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_PATIENCE_S", 1e6)
    turn = Turn(0, names)
    asking = in_line(turn)
    other.send_signal(how)
    other.wait()
    comes(turn, asking)
    assert not turn.is_to_be_awaited
    turn.give()


def test_a_turn_is_handed_from_process_to_process(
    names: str, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_SHARE_S", 0.0)
    assert other.stdin is not None
    assert other.stdout is not None
    first, second = Turn(0, names), Turn(0, names)
    firsts, seconds = in_line(first), in_line(second)
    other.stdin.write(b"\n")
    other.stdin.flush()
    assert other.stdout.readline() == b"given\n"
    got(firsts)
    assert first.is_to_be_awaited  # the same line waits behind it
    first.give()
    got(seconds)
    second.give()


def test_a_turn_is_not_handed_to_another_user(names: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    first, second = Turn(0, names), Turn(0, names)
    finished(first.awaited())
    command = [sys.executable, "-c", STRANGER, f"{names}-0-0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"asked\n"
        seconds = in_line(second)
        first.give()
        got(seconds)
        assert stranger.stdout.readline() == b"[]\n"
    second.give()


def test_nobody_waits_for_ever_on_a_process_that_is_stopped(
    names: str, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_PATIENCE_S", 0.05)
    other.send_signal(signal.SIGSTOP)
    turn = Turn(0, names)
    finished(turn.awaited())
    assert not turn.is_to_be_awaited  # it takes no turns for a while
    assert turn.left_ms() is None
    other.send_signal(signal.SIGCONT)


def test_no_core_no_turns() -> None:
    turn = Turn(None)
    assert not turn.is_to_be_awaited
    finished(turn.awaited())
    turn.begin_program()
    assert turn.left_ms() is None
    turn.give()


@pytest.fixture
def named_apart(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_NAMES", names)


@needs_two
@pytest.mark.usefixtures("named_apart")
def test_no_more_short_programs_run_at_once_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_SHORT_S", 1e6)  # however slow this machine is now
    monkeypatch.setattr(turns, "_PATIENCE_S", 60.0)
    monkeypatch.setattr(turns, "_SHARE_S", 0.01)
    with Sandbox(3 * CORES) as sandbox:
        jobs = ((number, StdioJob(BURN)) for number in range(60 * CORES))
        spans = [tuple(map(float, outcome.stdout.split())) for _, outcome in sandbox.run_many(jobs)]
    edges = sorted([(begun, 1) for begun, _ in spans] + [(ended, -1) for _, ended in spans])
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    assert len(spans) == 60 * CORES
    assert most <= CORES


@needs_two
@pytest.mark.usefixtures("named_apart")
def test_a_program_that_takes_long_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE_S", 60.0)
    sleeper = StdioJob("import time; time.sleep(8)")
    jobs: list[tuple[str, Job]] = [("long", sleeper)] * CORES + [("short", StdioJob("pass"))] * 40
    with Sandbox(2 * CORES) as sandbox:
        list(sandbox.run_many([("warm", StdioJob("pass"))] * 4 * CORES))
        names = [name for name, outcome in sandbox.run_many(jobs) if outcome.verdict.passed]
    assert names == ["short"] * 40 + ["long"] * CORES


@needs_two
@pytest.mark.usefixtures("named_apart")
def test_a_job_takes_one_worker_though_no_turn_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE_S", 1e6)
    held = [Turn(core) for core in os.sched_getaffinity(0)]
    job = StdioJob("pass")
    with Sandbox(2 * CORES) as sandbox, ThreadPoolExecutor(2) as threads:
        for turn in held:
            finished(turn.awaited())
        waits = threads.submit(lambda: list(sandbox.run_many([(0, job)])))
        time.sleep(0.2)
        beside = threads.submit(sandbox.run, job)
        ended, _ = wait([beside], timeout=30)
        for turn in held:
            turn.give()
        assert ended  # by one of the workers that are left
        assert beside.result().verdict.passed
        assert waits.result()[0][1].verdict.passed
