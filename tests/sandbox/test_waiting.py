"""One thread waits for many: whose descriptor can be read, and whose time is over."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

import pytest

from evolcoder.sandbox.waiting import Wait, Waiting, Waits, finished


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_who_can_read_goes_on_and_the_others_wait(pipe: tuple[int, int]) -> None:
    silent = os.pipe()
    waits: Waits[str] = Waits()
    waits.add("news", Wait((silent[0], pipe[0])))
    waits.add("late", Wait((silent[1],), 1.0))
    waits.add("closed", Wait((-1,)))
    assert waits.over(block=True)[0] == ("closed", [-1])
    while not (over := waits.over(block=False)):
        pass
    assert over == [("late", [])]
    assert waits.over(block=False) == []
    os.write(pipe[1], b"x")
    assert waits.over(block=True) == [("news", [pipe[0]])]
    waits.add("again", Wait((pipe[0],), 1e6))
    assert waits.over(block=True) == [("again", [pipe[0]])]
    for fd in silent:
        os.close(fd)


def test_work_is_sent_what_can_be_read(pipe: tuple[int, int]) -> None:
    def work() -> Waiting[list[Collection[int]]]:
        first = yield Wait((pipe[0],), 1.0)
        os.write(pipe[1], b"x")
        return [first, (yield Wait((pipe[0],)))]

    assert finished(work()) == [[], [pipe[0]]]
