"""Runs a folder of hostile programs through the sandbox with one worker and reports what did not hold.

A program of its own, so that a test can run it as another user. The protocol is written in each program's
first line: `# category= kind= expect= [armed]`. Around each program stand a canary file and environment
variable, a victim process and three listeners of the host; after each, the same worker runs a clean probe.

    python hostile_run.py FOLDER [NAME ...]
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evolcoder.evaluate.benchmarks.evalplus_oracles import Expectation, ValueComparison
from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import BatchComparison, BatchJob, CallJob, Limits, Outcome, StdioJob

SECRET = "SBXCANARY-4be1"
LIMITS = Limits(cpu_s=0.4, wall_s=0.8, memory_bytes=512 << 20)
TESTS = """
def check(candidate):
    assert candidate(3) == 9
    assert candidate(4) == 16
    assert candidate(7) == 49
    assert candidate(12) == 144

check(candidate)
"""
INPUTS = ((3,), (4,), (7,), (12,))
EXPECTED = (9.0, [16.0, 1.0], 49.0, (144.0,))
COMPARISON = BatchComparison(
    "square", partial(ValueComparison, "evalplus", Expectation("humaneval", "square", 1e-6, INPUTS, EXPECTED))
)
PROBE = """
import os, sys, math, json, socket
assert os.listdir(".") == [], os.listdir(".")
assert os.listdir("/dev/shm") == [], os.listdir("/dev/shm")
assert [p for p in os.listdir("/proc") if p.isdigit()] == ["1"]
assert os.getcwd() == "/tmp" and len([1]) == 1 and math.sqrt(4) == 2.0
print("clean")
"""


@dataclass(frozen=True)
class Hostile:
    """One hostile program and what its first line says of it."""

    name: str
    kind: str
    expect: frozenset[str]
    source: str


def read_hostile(path: Path) -> Hostile:
    text = path.read_text()
    words = dict(word.partition("=")[::2] for word in text.splitlines()[0].lstrip("# ").split())
    armed = "import os; os.environ['SBX_ARMED'] = '1'\n" if "armed" in words else ""
    return Hostile(path.stem, words["kind"], frozenset(words["expect"].split(",")), armed + text)


def ways(outcome: Outcome) -> set[str]:
    """How a script ended, in the words of the programs' first lines."""
    reason, detail = outcome.verdict.reason, outcome.verdict.detail
    named = {
        "passed": {"ok"},
        "timeout": {"timeout"},
        "memory": {"memory", "error"},
        "crashed": {"signal"},
        "forbidden": {"blocked", "error"},
    }.get(reason, {"error"})
    if detail.startswith("wrote more than"):
        named = {"output"}
    return named | ({"blocked"} if b"BLOCKED" in outcome.stdout else set())


class Host:
    """What a program must not reach."""

    def __init__(self) -> None:
        self.folder = Path("/tmp/sbxhost")
        self.folder.mkdir(exist_ok=True)
        self.canary = self.folder / "secret.txt"
        self.canary.write_text(SECRET)
        os.environ["SBX_SECRET"] = SECRET
        self.victim = subprocess.Popen(["sleep", "1000"])
        self.listeners = [socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        self.listeners[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        path = self.folder / "listener.sock"
        path.unlink(missing_ok=True)
        for listener, address in zip(
            self.listeners, [("127.0.0.1", 48231), "\0sbxhost", str(path)], strict=True
        ):
            listener.bind(address)
            listener.listen()
            listener.setblocking(False)

    def harm(self) -> Iterator[str]:
        if not self.canary.exists() or self.canary.read_text() != SECRET:
            yield "the canary file was changed"
        if {path.name for path in self.folder.iterdir()} != {"secret.txt", "listener.sock"}:
            yield "a file appeared on the host"
        if self.victim.poll() is not None:
            yield "the victim was killed"
        for listener in self.listeners:
            try:
                listener.accept()
            except BlockingIOError:
                continue
            yield "a listener was reached"

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for listener in self.listeners:
            listener.close()
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()


@contextmanager
def host() -> Iterator[Host]:
    standing = Host()
    try:
        yield standing
    finally:
        standing.close()


def descendants() -> set[int]:
    """Every process below this one."""
    parents: dict[int, int] = {}
    for name in [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]:
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def troubles(program: Hostile, sandbox: Sandbox) -> Iterator[str]:
    if program.kind == "forge":
        outcome = sandbox.run(CallJob(program.source, "square", TESTS, LIMITS))
        if outcome.verdict.passed:
            yield "forged a pass"
        outcome = sandbox.run(CallJob(program.source, "square", TESTS, LIMITS, trusted_tests=True))
        if outcome.verdict.passed:
            yield "forged a pass of trusted tests"
        outcome = sandbox.run(BatchJob(program.source, "square", INPUTS, LIMITS, comparison=COMPARISON))
        if outcome.verdict.passed:
            yield "forged a pass of compared values"
    else:
        outcome = sandbox.run(StdioJob(program.source, b"", LIMITS))
        if b"ESCAPED" in outcome.stdout + outcome.stderr:
            yield f"escaped: {outcome.stdout[:200]!r}"
        elif not ways(outcome) & program.expect:
            yield f"ended as {outcome.verdict.reason} ({outcome.verdict.detail}), not {set(program.expect)}"
    if SECRET.encode() in outcome.stdout + outcome.stderr:
        yield "the canary was read"
    if outcome.verdict.reason == "infrastructure":
        yield f"infrastructure: {outcome.verdict.detail}"
    # 3: the extension of a starved program; 4: a second attempt, where it starved all the same
    if outcome.verdict.wall_s > 3.0 * 4.0 * (LIMITS.wall_s or 0.0) + 1.0:
        yield "ran past its limit"


def run_folder(folder: Path, names: list[str]) -> dict[str, list[str]]:
    programs = [read_hostile(path) for path in sorted(folder.glob("*.py")) if not names or path.stem in names]
    found: dict[str, list[str]] = {}
    with host() as standing, Sandbox(workers=1) as sandbox:
        print("level", sandbox.level, "programs", len(programs), file=sys.stderr)
        for trusted in (True, False):  # every container that will be needed stands before the first program
            sandbox.run(CallJob("def square(x): return x * x", "square", TESTS, trusted_tests=trusted))
        sandbox.run(BatchJob("def square(x): return x", "square", INPUTS, comparison=COMPARISON))
        sandbox.run(StdioJob(PROBE))
        before = descendants()
        for program in programs:
            trouble = [*troubles(program, sandbox), *standing.harm()]
            probe = sandbox.run(StdioJob(PROBE))
            if probe.stdout != b"clean\n":
                trouble.append(f"a neighbour is not clean: {probe.verdict} {probe.stderr[-200:]!r}")
            correct = sandbox.run(CallJob("def square(x): return x * x", "square", TESTS, trusted_tests=True))
            if not correct.verdict.passed:
                trouble.append(f"a correct neighbour is not passed: {correct.verdict}")
            if len(left := descendants()) > len(before):
                trouble.append(f"processes are left: {left - before}")
            if trouble:
                found[program.name] = trouble
    return found


if __name__ == "__main__":
    result = run_folder(Path(sys.argv[1]), sys.argv[2:])
    print(json.dumps(result, indent=1))
    sys.exit(1 if result else 0)
