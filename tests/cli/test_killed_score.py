"""`evolcoder score` under `kill -9`: nothing is left standing, and the next start goes on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil

from evolcoder.evaluate.benchmarks import load_benchmark

COPIES = 12


def samples_file(path: Path) -> Path:
    """Canonical solutions, each in several spellings, so that none is folded."""
    problems = load_benchmark("humaneval").problems
    rows = [
        {"task_id": p.task_id, "completion": f"{p.canonical_solution}\n# {number}\n"}
        for p in problems
        for number in range(COPIES)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def verdicts_kept(folder: Path) -> int:
    path = folder / "verdicts.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(path) as cache:
        try:
            return int(cache.execute("SELECT count(*) FROM verdicts").fetchone()[0])
        except sqlite3.OperationalError:  # it is being made
            return 0


def test_a_killed_scoring_leaves_no_process_and_continues(tmp_path: Path) -> None:
    samples = samples_file(tmp_path / "samples.jsonl")
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "evolcoder", "score", str(samples), "-b", "humaneval", "--json"]
    environment = os.environ | {"EVOLCODER_CACHE": str(cache)}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while verdicts_kept(cache) == 0:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    below = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.communicate()
    psutil.wait_procs(below, timeout=1.0)
    alive = [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert below and alive == []
    before = verdicts_kept(cache)
    assert 0 < before < 164 * COPIES
    continued = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(continued.stdout)["passed_samples"] == 164 * COPIES
    assert verdicts_kept(cache) == 164 * COPIES
