"""What the end of a process says: of the program, or of the machine."""

from __future__ import annotations

import signal

import pytest

from evolcoder.sandbox.container import ProgramEnd
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import Limits
from evolcoder.sandbox.reasons import forced_end, judged_calls


@pytest.mark.parametrize(("held_mib", "reason"), [(100, "infrastructure"), (1900, "memory")])
def test_a_program_is_not_blamed_when_the_kernel_ends_it_for_the_memory_of_others(
    held_mib: int, reason: str
) -> None:
    killed = ProgramEnd(int(signal.SIGKILL), wire.ENDED, 0.1, 0.2, held_mib << 20, 0.0)
    ended = forced_end(killed, Limits(memory_bytes=2 << 30))
    assert ended is not None
    assert ended[0] == reason


@pytest.mark.parametrize(("waited_s", "reason"), [(0.9, "timeout"), (2.0, "infrastructure")])
def test_tests_that_waited_for_the_program_itself_say_nothing_of_the_machine(
    waited_s: float, reason: str
) -> None:
    limits = Limits(cpu_s=1.0, wall_s=1.5)
    killed = ProgramEnd(int(signal.SIGKILL), wire.KILLED_WALL, 0.95, 1.5, 1 << 20, 0.0)
    assert judged_calls(killed, ("gone", "", waited_s), limits)[0] == reason
