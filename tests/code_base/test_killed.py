"""`kill -9` of `seeds from-code` and `benchmark from-code`: the same command goes on, to the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.cli.teacher_server import TeacherServer

from .growing_shop import calls, make_shop

_COMMANDS = {
    "seeds": (("seeds.jsonl", "seeds.eliminated.jsonl", "seeds.summary.json"), ("--out", "seeds.jsonl")),
    "benchmark": (
        ("mine/problems.jsonl", "mine/private_benchmark.py"),
        ("--held-out", "0.9", "--out", "mine"),
    ),
}


class Stalling:
    """Answers so many requests, then none until it may."""

    def __init__(self, answered: int) -> None:
        self.left, self.may, self.stalled = answered, threading.Event(), threading.Event()
        self.paid: list[str] = []
        self.lock = threading.Lock()

    def __call__(self, kind: str, text: str) -> str:
        with self.lock:
            self.left -= 1
            stalls = self.left < 0 and not self.may.is_set()
        if stalls:
            self.stalled.set()
            self.may.wait(100)
            return "never read"
        self.paid.append(text)
        return calls(text)


@pytest.mark.parametrize("what", _COMMANDS)
@pytest.mark.parametrize("answered", [1, 7])
def test_nothing_paid_is_asked_twice_and_the_bytes_are_those_of_one_sitting(
    what: str, answered: int, teacher: TeacherServer, tmp_path: Path
) -> None:
    shop, (files, options) = make_shop(tmp_path), _COMMANDS[what]
    command = [sys.executable, "-m", "evolcoder", what, "from-code", str(shop)]
    command += ["--teacher", f"openai:m@{teacher.url}", "--concurrency", "3", *options]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    environment = os.environ | {"OPENAI_API_KEY": "none"}
    teacher.plant = lambda kind, text: calls(text)
    subprocess.run(command, cwd=whole, env=environment, check=True, capture_output=True)
    stalling = Stalling(answered)
    teacher.plant = stalling
    process = subprocess.Popen(command, cwd=killed, env=environment, stderr=subprocess.DEVNULL)
    assert stalling.stalled.wait(60), "it ended before it could be killed"
    time.sleep(0.5)  # a reply that was read is durable by now
    process.kill()
    process.wait()
    assert not any((killed / name).exists() for name in files)
    paid = list(stalling.paid)
    stalling.may.set()
    subprocess.run(command, cwd=killed, env=environment, check=True, capture_output=True)
    assert len(paid) == answered and len(stalling.paid) > answered
    assert len(stalling.paid) == len(set(stalling.paid)), "nothing is paid twice"
    for name in files:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
