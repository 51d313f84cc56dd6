"""The whole `evolcoder evolve` command against a fake endpoint: time, CPU, memory, faults, kills, a peer.

    python bench/evolve.py FAKE.py scale memory wide          # a case or several; all where none is named
    python bench/evolve.py FAKE.py distilabel --distilabel /tmp/peer/bin/python

FAKE.py is an OpenAI-compatible fake that takes --latency-ms, --p429, --sorry, ... (see fake_endpoint.py); it
answers after 200 ms and shares the machine. The peer's interpreter is that of a venv which has it:
python -m venv /tmp/peer && /tmp/peer/bin/pip install 'distilabel[openai]==1.5.3' requests

Times are those of the command, its start and its files included. "Ideal" is requests x 200 ms / concurrency.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolcoder.evolve.methods import METHOD_SETS
from fake_endpoint import FakeEndpoint, fake_endpoint

LATENCY_S = 0.2
_WORDS = [
    "array",
    "string",
    "matrix",
    "graph",
    "queue",
    "stack",
    "parser",
    "cache",
    "index",
    "ledger",
    "tensor",
    "sensor",
    "invoice",
    "calendar",
    "route",
    "token",
    "buffer",
    "ticket",
    "weather",
    "recipe",
    "library",
    "auction",
    "elevator",
    "parking",
    "chess",
    "budget",
    "playlist",
    "survey",
    "robot",
]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of the command came to."""

    seconds: float
    cpu_s: float
    """User and system time of the command and its children."""
    peak_mb: float
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Requests whose replies are in the rows."""
        return sum(int(summary["requests"]) for summary in self.result["rounds"])

    def eliminated(self) -> dict[str, int]:
        """Rows dropped in all rounds, by reason."""
        counted: dict[str, int] = {}
        for summary in self.result["rounds"]:
            for reason, n in summary["eliminated"].items():
                counted[reason] = counted.get(reason, 0) + n
        return counted


@dataclass(frozen=True, slots=True)
class Bench:
    """What the cases share."""

    script: str
    folder: Path
    n_seeds: int
    rounds: int
    peer: str | None

    def endpoint(self, *flags: str) -> Any:
        """Return a fresh fake endpoint, as a context manager."""
        return fake_endpoint(self.script, ["--latency-ms", str(1000 * LATENCY_S), *flags])

    def seeds(self, n: int) -> Path:
        """Return a file of `n` different seed instructions, every third with an input."""
        path = self.folder / f"seeds-{n}.jsonl"
        if not path.exists():
            draw = random.Random(n)
            with path.open("w") as file:
                for i in range(n):
                    words = " ".join(draw.choices(_WORDS, k=12))
                    row = {"instruction": f"[task-{i}] Write a Python function that combines {words}."}
                    if i % 3 == 0:
                        row["input"] = " ".join(draw.choices(_WORDS, k=8))
                    file.write(json.dumps(row) + "\n")
        return path

    def command(self, endpoint: FakeEndpoint, out: Path, n: int, concurrency: int, rounds: int) -> list[str]:
        """Return the command line that evolves `n` seeds."""
        return [
            *(sys.executable, "-m", "evolcoder", "evolve", "--json"),
            *("--seeds", str(self.seeds(n)), "--teacher", "openai:fake", "--base-url", endpoint.url),
            *("--rounds", str(rounds), "--concurrency", str(concurrency), "--out", str(out)),
        ]

    def evolve(
        self, endpoint: FakeEndpoint, name: str, n: int = 0, concurrency: int = 256, rounds: int = 0
    ) -> Measured:
        """Run the command to its end."""
        out = self.folder / name
        return measured(self.command(endpoint, out, n or self.n_seeds, concurrency, rounds or self.rounds))


def measured(command: list[str]) -> Measured:
    """Run a command that ends with a line of JSON, and measure it with all its children."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=told, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            last = errors.read().decode(errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{last}")
        told.seek(0)
        result = json.loads(told.read().splitlines()[-1])
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, result)


def say(case: str, found: str, bar: str, holds: bool) -> None:
    """Print a row of the table."""
    print(f"| {case} | {found} | {bar} | {'yes' if holds else 'NO'} |", flush=True)


def ideal_s(run: Measured, concurrency: int) -> float:
    """Return the time that the run's requests need if always `concurrency` of them are in flight."""
    return run.requests * LATENCY_S / concurrency


def scale(bench: Bench) -> None:
    """Time, CPU and memory at concurrency 256."""
    with bench.endpoint() as endpoint:
        run = bench.evolve(endpoint, "scale")
    times, cpu_ms = run.seconds / ideal_s(run, 256), 1000 * run.cpu_s / run.requests
    say(
        "clean: times ideal",
        f"{times:.2f} ({run.requests} requests, {run.seconds:.1f} s)",
        "1.3",
        times <= 1.3,
    )
    say("clean: CPU a journaled request", f"{cpu_ms:.2f} ms", "0.6 ms", cpu_ms <= 0.6)
    say("clean: peak memory", f"{run.peak_mb:.0f} MB", "150 MB", run.peak_mb < 150)


def memory(bench: Bench) -> None:
    """Memory of four times the seeds."""
    peaks = []
    for n in (bench.n_seeds, 4 * bench.n_seeds):
        with bench.endpoint() as endpoint:
            peaks.append(bench.evolve(endpoint, f"memory-{n}", n=n).peak_mb)
    ratio = peaks[1] / peaks[0]
    found = f"{peaks[1]:.0f} MB, {ratio:.2f} times {peaks[0]:.0f} MB"
    say(f"clean: peak memory of {4 * bench.n_seeds} seeds", found, "1.3 times", ratio <= 1.3)


def wide(bench: Bench) -> None:
    """Requests a second at concurrency 1024."""
    with bench.endpoint() as endpoint:
        run = bench.evolve(endpoint, "wide", concurrency=1024)
        served = endpoint.stats()
    rate = run.requests / run.seconds
    found = f"{rate:.0f} requests/s over the whole command, at most {served['max_inflight']} in flight, "
    found += f"{run.peak_mb:.0f} MB"
    say("1,024 in flight", found, "1,500", rate >= 1500)


def faults(bench: Bench) -> None:
    """Refusals, errors, broken bodies, silence and slow answers."""
    cases: list[tuple[str, str, float | None]] = [
        ("clean", "", 1.0),
        ("3% HTTP 429, 2% HTTP 500", "--p429 0.03 --p500 0.02", 1.15),
        ("10% HTTP 429, 10% HTTP 500", "--p429 0.10 --p500 0.10", 1.6),
        ("1% malformed", "--malformed 0.01", None),
        ("0.5% never answered, 2% after 5 s", "--hang 0.005 --tail 0.02 --tail-ms 5000", None),
    ]
    clean_s = 0.0
    for i, (name, flags, bar) in enumerate(cases):
        with bench.endpoint(*flags.split()) as endpoint:
            run = bench.evolve(endpoint, f"faults-{i}")
        clean_s = clean_s or run.seconds
        rows, bad = _rows_and_bad_ones(bench.folder / f"faults-{i}")
        asked, kept = (sum(s[key] for s in run.result["rounds"]) for key in ("asked", "kept"))
        # An answer of null that ended by itself is billed and empty: its row is dropped, not asked for again.
        lost = 0 if bar or "malformed" not in name else 0.01 * asked
        whole = bad == 0 and rows == kept >= asked - lost
        times = run.seconds / clean_s
        retries = ", ".join(f"{n} {kind}" for kind, n in run.result["requests"]["retries"].items())
        found = f"{times:.2f} times clean ({run.seconds:.1f} s); {kept} of {asked} rows kept, {bad} not valid"
        found += f"; asked again: {retries or 'none'}"
        say(
            name,
            found,
            f"{bar} times, every row" if bar else "every row valid",
            whole and times <= (bar or 9),
        )


def _rows_and_bad_ones(out: Path) -> tuple[int, int]:
    rows = bad = 0
    for path in sorted(out.glob("round-*/evolved.jsonl")):
        for line in path.open("rb"):
            row = json.loads(line)
            rows += 1
            whole = "Write a Python function" in row["instruction"] and "def solve_" in row["response"]
            bad += not whole
    return rows, bad


def limit(bench: Bench) -> None:
    """A limit of 100 requests a second that the command is not told of."""
    n = 500
    with bench.endpoint("--rpm", "6000") as endpoint:
        bench.evolve(endpoint, "limit", n=n)
        served = endpoint.stats()
    used = served["ok"] / (served["t1"] - served["t0"]) / 100
    refused = served.get("s429", 0) / served["req"]
    found = f"{used:.1%} used, {refused:.1%} of {served['req']} requests refused"
    say(
        "limit of 100 a second, not told",
        found,
        "93% used, under 10% refused",
        used >= 0.93 and refused < 0.1,
    )


def elimination(bench: Bench) -> None:
    """Planted refusals, leaks, copies and empty replies, one kind at a time and all at once."""
    rules = {"sorry": "refused", "leak": "leaked prompt", "same": "unchanged", "empty": "empty"}
    for kinds in (*([kind] for kind in rules), list(rules)):
        flags = [text for kind in kinds for text in (f"--{kind}", "0.05" if len(kinds) == 1 else "0.02")]
        name = "elimination-" + "-".join(kinds)
        with bench.endpoint(*flags) as endpoint:
            run = bench.evolve(endpoint, name, n=min(bench.n_seeds, 2000), rounds=2)
            served = endpoint.stats()
        planted = {rules[kind]: served.get(f"semantic_{kind}", 0) for kind in kinds}
        dropped = run.eliminated()
        found = f"planted {planted}, eliminated {dropped}"
        say("planted: " + ", ".join(kinds), found, "the same", planted == dropped)


def kills(bench: Bench) -> None:
    """SIGKILL at 20 random moments, continued each time, against an uninterrupted run."""
    with bench.endpoint() as endpoint:
        whole = bench.evolve(endpoint, "whole")
    out = bench.folder / "killed"
    moments = random.Random(time.time_ns())
    with bench.endpoint() as endpoint:
        command = bench.command(endpoint, out, bench.n_seeds, 256, bench.rounds)
        for _ in range(20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(moments.uniform(0.1, 2 * whole.seconds / 20))
            process.kill()
            process.wait()
        measured(command)
        served = endpoint.stats()
    same = _digest(out) == _digest(bench.folder / "whole")
    repeated = served["repeat_ok"] / served["unique_ok"]
    found = (
        f"{'the same' if same else 'DIFFERENT'} bytes; {served['repeat_ok']} of {served['unique_ok']} answers"
    )
    say(
        "20 SIGKILLs",
        f"{found} asked for again ({repeated:.2%})",
        "same bytes, 1.5%",
        same and repeated <= 0.015,
    )


def _digest(out: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted([*out.glob("round-*/*"), *out.glob("dataset*")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def distilabel(bench: Bench) -> None:
    """Distilabel at its defaults on the same seeds, methods and endpoint: a round, and three in one task."""
    if bench.peer is None:
        print("| distilabel | not measured: --distilabel PYTHON is not given | | |")
        return
    templates = bench.folder / "templates.json"
    code = METHOD_SETS["code"]
    texts = {m.name: code.template.replace("{method}", m.sentence) for m in code.methods}
    prompts = {name: text.replace("{question}", "<PROMPT>") for name, text in texts.items()}
    templates.write_text(json.dumps(prompts))
    for rounds, n in ((1, 5000), (3, 3000)):
        _beside_distilabel(bench, rounds, min(n, bench.n_seeds), templates)


def _beside_distilabel(bench: Bench, rounds: int, n: int, templates: Path) -> None:
    ours = {}
    for concurrency in (256, 1024):
        with bench.endpoint() as endpoint:
            name = f"ours-{rounds}-{concurrency}"
            ours[concurrency] = bench.evolve(endpoint, name, n=n, concurrency=concurrency, rounds=rounds)
    script = Path(__file__).with_name("peers") / "distilabel_peer.py"
    with bench.endpoint() as endpoint:
        words = [script, bench.seeds(n), endpoint.url, bench.folder / f"peer-{rounds}", rounds, templates]
        theirs = measured([str(bench.peer), *map(str, words)])
        served = endpoint.stats()
    wide, usual = ours[1024], ours[256]
    times = theirs.seconds / wide.seconds
    cpu_ms = (1000 * wide.cpu_s / wide.requests, 1000 * theirs.cpu_s / served["ok"])
    found = (
        f"{times:.1f} times faster at 1,024 in flight, {theirs.seconds / usual.seconds:.1f} at 256: "
        f"{wide.seconds:.1f} and {usual.seconds:.1f} s against {theirs.seconds:.1f} s "
        f"({wide.requests} and {served['ok']} answers); "
        f"CPU a request {cpu_ms[0]:.2f} and {cpu_ms[1]:.1f} ms; "
        f"memory {wide.peak_mb:.0f} and {theirs.peak_mb:.0f} MB; "
        f"at most {served['max_inflight']} of the peer's requests in flight"
    )
    same_work = served["ok"] == wide.requests == usual.requests == 2 * theirs.result["rows"]
    say(f"distilabel, {n} seeds x {rounds}", found, "10 times", same_work and times >= 10)


CASES: dict[str, Callable[[Bench], None]] = {
    case.__name__: case for case in (scale, memory, wide, faults, limit, elimination, kills, distilabel)
}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("script", metavar="FAKE.py")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--distilabel", metavar="PYTHON", help="interpreter of a venv that has distilabel")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    print("| case | found | bar | holds |\n|---|---|---|---|", flush=True)
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            CASES[name](
                Bench(options.script, Path(folder), options.seeds, options.rounds, options.distilabel)
            )


if __name__ == "__main__":
    main()
