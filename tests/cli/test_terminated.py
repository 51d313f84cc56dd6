"""SIGTERM, as Slurm and Kubernetes send it, stops a command as Ctrl-C does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from teacher_server import teacher_server
from test_killed_score import samples_file, verdicts_kept

TOLD = "stopped; everything finished is kept, the same command continues"
IN_THE_BACKGROUND = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
"""What a shell's script runs with `&` ignores Ctrl-C."""


@pytest.mark.parametrize("shell", ["", IN_THE_BACKGROUND], ids=["in front", "in the background"])
def test_a_terminated_evolution_stops_in_order_and_pays_for_nothing_twice(shell: str, tmp_path: Path) -> None:
    seeds, out = tmp_path / "seeds.jsonl", tmp_path / "out"
    rows = [{"instruction": f"Write a program that sorts {name} by age."} for name in ("parcels", "recipes")]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held, may_answer = threading.Event(), threading.Event()

    def plant(kind: str, text: str) -> str | None:
        if "recipes" in text and not may_answer.is_set():
            held.set()
            may_answer.wait(100)
        return None

    with teacher_server(plant) as teacher:
        given = ["--teacher", "openai:t", "--base-url", teacher.url, "--rounds", "1", "--out", str(out)]
        start = f"{shell}from evolcoder.cli import main; main()"
        command = [sys.executable, "-c", start, "evolve", "--seeds", str(seeds), *given, "--json"]
        stopped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert held.wait(100)
        while not any(kind == "answer" for _, kind, _ in teacher.asked):  # what was evolved is kept by then
            time.sleep(0.02)
        stopped.send_signal(signal.SIGTERM)
        _, errors = stopped.communicate(timeout=60)
        may_answer.set()
        assert stopped.returncode == 128 + signal.SIGTERM, errors
        assert errors.splitlines()[-1] == TOLD and "Traceback" not in errors
        subprocess.run(command, capture_output=True, check=True)
    asked = [text for _, kind, text in teacher.asked if kind == "evolve" and "parcels" in text]
    assert len(asked) == 1 and (out / "round-1" / "evolved.jsonl").exists()


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_terminated_scoring_leaves_no_process(engine: str, tmp_path: Path) -> None:
    samples = samples_file(tmp_path / "samples.jsonl")
    cache = tmp_path / "cache"
    command = [
        sys.executable,
        "-m",
        "evolcoder",
        "score",
        str(samples),
        "-b",
        "humaneval",
        "--engine",
        engine,
    ]
    environment = os.environ | {"EVOLCODER_CACHE": str(cache)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    stopped = subprocess.Popen(command, env=environment, **pipes)
    while verdicts_kept(cache) == 0:
        assert stopped.poll() is None, "it ended before it could be stopped"
        time.sleep(0.02)
    below = psutil.Process(stopped.pid).children(recursive=True)
    stopped.send_signal(signal.SIGTERM)
    _, errors = stopped.communicate(timeout=60)
    alive = [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert below and alive == []
    assert stopped.returncode == 128 + signal.SIGTERM, errors
    assert errors.splitlines()[-1] == TOLD and "Traceback" not in errors
