"""A run that is killed anywhere continues: nothing is asked twice, and the bytes come out the same."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.models.byte_llama import save_tiny_model

CONCURRENCY = 4
RECIPE = """
name: killed
seeds: {{source: shipped, limit: 60}}
teacher: {{model: "openai:fake", base_url: "{url}", endpoint: {{concurrency: {concurrency}}}}}
base: {{model: "{base}"}}
rounds: {{max_rounds: 2, rows_per_round: 50}}
train:
  {{epochs: 1, batch_size: 8, max_length: 1024, save_every_steps: 2, dtype: fp32, tracking: [],
    prompt_style: chat}}
evaluate:
  benchmarks: [humaneval]
  settings: {{style: chat, limit: 6, max_tokens: 40}}
  local: {{batch_size: 2, wave_size: 2, dtype: fp32}}
stop: {{rule: max_rounds, benchmark: humaneval, select_on_test: true}}
"""
COMPARED = ("seeds.jsonl", "evolved.jsonl", "eliminated.jsonl", "dataset.jsonl", "summary.json")


@dataclass(frozen=True)
class Endpoint:
    url: str
    log: Path
    process: subprocess.Popen[str]

    def answered(self) -> list[tuple[float, str]]:
        """(received, prompt hash) of every request answered with 200, in order; ends the endpoint."""
        self.process.terminate()  # it writes out its log
        self.process.wait()
        rows = [line.split("\t") for line in self.log.read_text().splitlines()]
        return sorted((float(row[0]), row[5]) for row in rows if row[2] == "200")


@pytest.fixture
def endpoint(data_folder: Path, tmp_path: Path) -> Iterator[Callable[[str], Endpoint]]:
    """Starts endpoints by name, each with a log of its own."""
    script = data_folder.parent / "tools" / "fake-endpoint.py"
    if not script.exists():
        pytest.skip("needs the fake endpoint beside the data: ../tools/fake-endpoint.py")
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> Endpoint:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = tmp_path / f"{name}.tsv"
        options = ["--port", str(port), "--latency-ms", "150", "--log", str(log)]
        process = subprocess.Popen([sys.executable, str(script), *options], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        return Endpoint(f"http://127.0.0.1:{port}/v1", log, process)

    yield start
    for process in started:
        process.kill()
        process.wait()


def start_run(recipe: Path, folder: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "evolcoder", "run", str(recipe), "--dir", str(folder)],
        stdout=output.open("ab"),
        stderr=subprocess.STDOUT,
        env={**os.environ, "OPENAI_API_KEY": "unused", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def products(folder: Path) -> dict[str, bytes]:
    """The data sets, samples and scores of a run, by path."""
    named = [path for name in COMPARED for path in folder.rglob(name)]
    named += [
        *folder.rglob("samples.jsonl"),
        *folder.rglob("scores.json"),
        *folder.rglob("model.safetensors"),
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in named}


def result(folder: Path) -> dict[str, object]:
    """What a run came to, without the command, which names its folder."""
    found: dict[str, object] = json.loads((folder / "result.json").read_text())
    del found["command"]
    return found


def finish(recipe: Path, folder: Path, output: Path) -> None:
    """Let the run come to its end."""
    assert start_run(recipe, folder, output).wait() == 0, output.read_text()


def paid_twice(answered: list[tuple[float, str]], sittings: list[float]) -> set[str]:
    """Prompts that were answered more than once, but for those in flight when the run was killed.

    `sittings` says when the run was started again, each time. What is in flight at a kill is among the
    requests that came last before the next start.
    """
    in_flight = set()
    for start in sittings:
        before = [prompt for received, prompt in answered if received < start]
        in_flight |= set(before[-2 * CONCURRENCY :])
    times = Counter(prompt for _, prompt in answered)
    return {prompt for prompt, count in times.items() if count > 1} - in_flight


def prompts(answered: list[tuple[float, str]]) -> set[str]:
    return {prompt for _, prompt in answered}


def kill_when(process: subprocess.Popen[bytes], moment: Callable[[], bool]) -> float:
    """SIGKILL the run at a moment; return when it was gone."""
    while not moment():
        assert process.poll() is None, "the run ended before the moment came"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return time.time()


def test_a_run_killed_in_five_stages_pays_for_nothing_twice_and_gives_the_same_bytes(
    endpoint: Callable[[str], Endpoint], tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base", max_position_embeddings=4096)
    plain, killed = endpoint("plain"), endpoint("killed")
    recipes = {}
    for name, at in (("plain", plain), ("killed", killed)):
        recipes[name] = tmp_path / name / "killed.yaml"
        recipes[name].parent.mkdir()
        recipes[name].write_text(RECIPE.format(url=at.url, base=base, concurrency=CONCURRENCY))

    output = tmp_path / "output.txt"

    run = tmp_path / "killed-run"

    def journaled() -> int:
        import sqlite3

        try:
            with sqlite3.connect(f"file:{run}/journal.sqlite?mode=ro", uri=True) as journal:
                tables = [
                    row[0] for row in journal.execute("select name from sqlite_master where type='table'")
                ]
                return max(journal.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)
        except (sqlite3.Error, ValueError):
            return 0

    def begun(stage: str) -> Callable[[], bool]:
        return lambda: (
            output.exists() and any(f"] {stage}{sign}" in output.read_text() for sign in ("; ", " ("))
        )

    def soon_after(moment: Callable[[], bool], seconds: float) -> Callable[[], bool]:
        met: list[float] = []

        def reached() -> bool:
            if moment() and not met:
                met.append(time.monotonic())
            return bool(met) and time.monotonic() - met[0] >= seconds

        return reached

    base_samples = 2
    moments = [
        soon_after(lambda: journaled() >= base_samples, 0.0),
        soon_after(lambda: journaled() >= 30, 0.0),
        soon_after(begun("train round 1"), 2.0),
        begun("evaluate round 1 on humaneval"),
        soon_after(begun("evolve round 2"), 1.0),
    ]
    sittings = []
    with start_run(recipes["plain"], tmp_path / "plain-run", tmp_path / "plain.txt") as left_alone:
        for moment in moments:
            sittings.append(kill_when(start_run(recipes["killed"], run, output), moment))
        finish(recipes["killed"], run, output)
    assert left_alone.returncode == 0, (tmp_path / "plain.txt").read_text()

    assert "done before" in output.read_text()
    assert products(run) == products(tmp_path / "plain-run")
    assert result(run) == result(tmp_path / "plain-run")
    assert paid_twice(killed.answered(), sittings) == set()
    assert prompts(killed.answered()) == prompts(plain.answered())


@dataclass(frozen=True)
class Sitting:
    """One start of a run; its lines are those after the first `before` characters of the output."""

    process: subprocess.Popen[bytes]
    output: Path
    before: int

    def said(self) -> str:
        return self.output.read_text()[self.before :]

    def begins(self, titles: list[str]) -> bool:
        """Whether one of these stages was begun."""
        said = self.said()
        return any(f"] {title}{sign}" in said for title in titles for sign in ("; ", " ("))

    def reaches(self, titles: list[str], seconds: float) -> bool:
        """Wait until `seconds` after one of these stages was begun; False where the run ends before."""
        while not self.begins(titles):
            if self.process.poll() is not None:
                return False
            time.sleep(0.005)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False


@pytest.mark.skipif(
    "EVOLCODER_SLOW" not in os.environ,
    reason="takes minutes: EVOLCODER_SLOW=1 pytest tests/loop/test_killed_run.py -k twenty",
)
def test_twenty_kills_at_random_moments_change_neither_data_nor_scores_nor_the_decision(
    endpoint: Callable[[str], Endpoint], tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base", max_position_embeddings=4096)

    def recipe_at(name: str, at: Endpoint) -> Path:
        path = tmp_path / name / "killed.yaml"
        path.parent.mkdir()
        path.write_text(RECIPE.format(url=at.url, base=base, concurrency=CONCURRENCY))
        return path

    plain = endpoint("plain")
    finish(recipe_at("plain", plain), tmp_path / "plain-run", tmp_path / "plain.txt")
    times = json.loads((tmp_path / "plain-run" / "stages.json").read_text())
    titles = [stage["name"] for stage in times]

    # Each kill at a random moment of a random stage: moments of the whole time would nearly all fall into the
    # longest stage. In order, so that one run meets as many as it can.
    seed = random.Random(int(os.environ["EVOLCODER_SLOW"]))
    moments = sorted((seed.randrange(len(titles)), seed.random()) for _ in range(20))
    met: Counter[str] = Counter()
    while moments:  # a run that comes to its end before is followed by another
        name = f"killed-{len(moments)}"
        killed, run, output = endpoint(name), tmp_path / f"{name}-run", tmp_path / f"{name}.txt"
        recipe, sittings = recipe_at(name, killed), []
        output.touch()
        while moments:
            at, share = moments[0]
            before = len(output.read_text())
            sitting = Sitting(start_run(recipe, run, output), output, before)
            if not sitting.reaches(titles[at:], share * times[at]["seconds"]):
                assert sitting.process.wait() == 0, output.read_text()
                break
            os.killpg(sitting.process.pid, signal.SIGKILL)
            sitting.process.wait()
            sittings.append(time.time())
            moments.pop(0)
            stage = next(title for title in reversed(titles) if sitting.begins([title]))
            met[stage] += 1
            print(f"kill {met.total()} in {stage}, last line: {sitting.said().splitlines()[-1]}")
        finish(recipe, run, output)
        assert products(run) == products(tmp_path / "plain-run")
        assert result(run) == result(tmp_path / "plain-run")
        assert paid_twice(killed.answered(), sittings) == set()
        assert prompts(killed.answered()) == prompts(plain.answered())
        said = output.read_text()
        for number in (1, 2):  # once a training is done it is never begun again
            after = said[said.index(f"train round {number}: done in") :]
            assert not re.search(rf"\] train round {number}(;| \()", after)
    print("kills by stage:", dict(met))
