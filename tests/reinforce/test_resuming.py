"""A run that learns from execution is killed anywhere and goes on; a finished one is finished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.reinforce.conftest import task
from tests.reinforce.test_reinforce import write_tasks
from tests.train.test_training import Notes, bytes_of

from evolcoder.errors import DataError
from evolcoder.progress import Bar, SilentProgress
from evolcoder.reinforce.run import reinforce
from evolcoder.reinforce.settings import ReinforceSettings, RewardSettings
from evolcoder.reinforce.tasks import Task, read_tasks

REPOSITORY = Path(__file__).parents[2]
GIVEN: dict[str, Any] = {
    "steps": 3, "rounds": 2, "tasks_per_step": 2, "group_size": 16, "max_tokens": 24, "learning_rate": 1e-3,
    "epochs": 2.0, "save_every": 1, "eval_samples": 4, "sample_batch": 4,
}  # fmt: skip
FINISHED = "this run is finished; nothing is sampled or trained again"


def given(method: str, **further: Any) -> ReinforceSettings:
    return ReinforceSettings(**GIVEN, **{"method": method, **further})


class Dying(SilentProgress):
    """Kills its process, as `kill -9` does, at the n-th thing told that begins so; writes all down before."""

    def __init__(self, log: Path, at: str, n: int) -> None:
        self._log, self._at, self._n = log, at, n

    def tell(self, line: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{line}\n")
        self._n -= line.startswith(self._at)
        if self._n == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, line: str) -> None:
        self.tell(f"note {line}")

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        self.tell(f"bar {name}")

        yield Telling(self, name)
        self.tell(f"end {name}")


class Telling:
    """A bar that tells each advance."""

    def __init__(self, to: Dying, name: str) -> None:
        self._to, self._name = to, name

    def advance(self, n: int = 1, **facts: str | float) -> None:
        self._to.tell(f"advance {self._name}")


def learn(base: str, out: Path, log: Path, method: str, at: str = "never", n: int = 1) -> None:
    """Learn, to the end or to this process's own."""
    tasks = [task(number) for number in (1, 2, 3, 4)]
    reinforce(base, tasks, given(method), out, held_out=tasks, progress=Dying(log, at, n))


def learn_elsewhere(base: str, out: Path, method: str, at: str, n: int = 1) -> Counter[str]:
    """Learn in another process; return what was told in it, and how often."""
    log = out.with_name("log")
    log.unlink(missing_ok=True)
    told = f"{base!r}, Path({str(out)!r}), Path({str(log)!r}), {method!r}, {at!r}, {n}"
    program = f"from pathlib import Path; from tests.reinforce.test_resuming import learn; learn({told})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    return Counter(log.read_text().splitlines())


def replies_of(out: Path) -> tuple[int, int]:
    """Return how many answers the journal holds, and how often one was asked for again."""
    with sqlite3.connect(out.with_name(f"{out.name}.rollouts") / "journal.sqlite") as journal:
        (n_replies,) = journal.execute("SELECT count(*) FROM replies").fetchone()
        hits = journal.execute("SELECT value FROM counts WHERE name = 'hits'").fetchone()
    return n_replies, int(hits[0]) if hits else 0


def state_of(out: Path, pattern: str = "*") -> dict[Path, int]:
    """Return when each file of a run was written."""
    folders = (out, out.with_name(f"{out.name}.rollouts"))
    files = (path for folder in folders for path in folder.rglob(pattern) if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files}


def assert_finished_as_if_never_killed(base: str, out: Path, method: str) -> None:
    """Run to the end what was killed, twice, and beside it what was not."""
    again, whole = out.with_name("again"), out.with_name("whole")
    learn(base, out, again, method)
    told = Counter(again.read_text().splitlines())
    assert told["bar sampling (answers)"] == (method == "dpo"), "it only looks its answers up"
    before = state_of(out)
    again.unlink()
    learn(base, out, again, method)
    assert again.read_text().endswith(f"note {out}: {FINISHED}\n") and "bar " not in again.read_text()
    assert state_of(out) == before
    learn(base, whole, out.with_name("whole.log"), method)
    assert bytes_of(whole) == bytes_of(out)


def test_rejection_sampling_killed_in_every_part_samples_and_trains_nothing_twice(
    half_taught: str, tmp_path: Path
) -> None:
    out = tmp_path / "killed"

    def killed(at: str, n: int = 1) -> tuple[int, int]:
        told = learn_elsewhere(half_taught, out, "rft", at, n)
        return told["bar sampling (answers)"], told["bar fine-tuning (rows)"]

    assert killed("advance sampling", 12) == (1, 0)
    known, _ = replies_of(out)
    assert 0 < known < 64
    assert killed("advance fine-tuning") == (1, 1)
    assert replies_of(out) == (64, known)
    assert killed("advance sampling", 12) == (1, 1), "the first round is trained again, and not sampled"
    first = state_of(out, "round-1/*")
    assert killed("advance fine-tuning") == (1, 1)
    assert replies_of(out)[0] == 128
    assert killed("end fine-tuning") == (0, 1)
    assert_finished_as_if_never_killed(half_taught, out, "rft")
    assert state_of(out, "round-1/*") == first
    assert replies_of(out)[0] == 128


@pytest.mark.parametrize(("method", "steps"), [("grpo", "reinforce"), ("dpo", "dpo")])
def test_others_killed_in_every_part_go_on_too(
    method: str, steps: str, half_taught: str, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    learn_elsewhere(half_taught, out, method, "advance sampling", 12)
    learn_elsewhere(half_taught, out, method, f"advance {steps}", 3)  # first comes what was done before
    kept = state_of(out, "*.jsonl")
    learn_elsewhere(half_taught, out, method, f"end {steps}")
    assert_finished_as_if_never_killed(half_taught, out, method)
    if method == "grpo":
        assert kept.items() <= state_of(out, "*.jsonl").items(), "held-out answers too are kept"
    else:
        assert replies_of(out)[0] == 64


@pytest.mark.parametrize("method", ["rft", "grpo", "dpo"])
def test_a_finished_run_is_known_wherever_and_however_it_is_named(
    method: str, half_taught: str, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, data, out = tmp_path / "base", write_tasks(tmp_path / "tasks.jsonl", tasks), tmp_path / "out"
    shutil.copytree(half_taught, base)
    reinforce(str(base), read_tasks(data), given(method), out)
    before = state_of(out)
    for file in base.iterdir():
        os.utime(file)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "another-cache"))
    changes = [f"--set={key}={value}" for key, value in GIVEN.items()]
    command = ["reinforce", "--method", method, "--model", "../base/.", "--tasks", "../tasks.jsonl", *changes]
    for place, folder in (("../out/", tmp_path / "elsewhere"), (".", out)):
        done = subprocess.run(
            [sys.executable, "-m", "evolcoder", *command, "--out", place, "--decontaminate", "humaneval"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and FINISHED in done.stderr, done.stderr
    assert state_of(out) == before


def test_what_a_round_learns_from_stands_whatever_its_programs_are_judged_later(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    class Stops(Notes):
        def note(self, line: str) -> None:
            if line.startswith("round 1"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reinforce(half_taught, tasks, given("rft"), tmp_path / "out", progress=Stops())
    first = tmp_path / "out.rollouts" / "round-1.jsonl"
    kept = first.read_bytes()
    with sqlite3.connect(tmp_path / "cache" / "rewards.sqlite") as verdicts:
        changed = verdicts.execute("UPDATE verdicts SET verdict = replace(verdict, 'false', 'true')")
        assert changed.rowcount > 0
    reinforce(half_taught, tasks, given("rft"), tmp_path / "out")
    assert first.read_bytes() == kept
    told = json.loads((tmp_path / "out.rollouts" / "rounds.json").read_text())
    assert told[0]["passed"] < 0.7 < 0.9 < told[1]["passed"], "the second was judged by what was changed"


def test_another_run_is_told_by_what_differs_before_anything_is_done(
    half_taught: str, tasks: list[Task], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    reinforce(half_taught, tasks, given("rft"), out)
    before = state_of(out)
    other = given("rft", temperature=0.5, reward=RewardSettings(extract="first"))
    differ = r"\(temperature 1.0 there, 0.5 now; reward.extract wizardcoder there, first now\)"
    with pytest.raises(DataError, match=differ):
        reinforce(half_taught, tasks, other, out, overwrite=False)
    assert state_of(out) == before
    one = replace(other, rounds=1, reward=RewardSettings())
    reinforce(half_taught, tasks, one, out)
    told = json.loads((out / "training.json").read_text())["reinforce"]["rounds"]
    assert len(told) == 1 and told == json.loads((tmp_path / "out.rollouts" / "rounds.json").read_text())
    assert "of its own answers, all of which pass their tests" in (out / "README.md").read_text()
