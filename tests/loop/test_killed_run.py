"""A run that is killed anywhere continues: nothing is asked twice, and the bytes come out the same."""

from __future__ import annotations

import json
import os
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

RECIPE = """
name: killed
seeds: {{source: shipped, limit: 60}}
teacher: {{model: "openai:fake", base_url: "{url}", endpoint: {{concurrency: 4}}}}
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

    def answered(self) -> list[tuple[float, float, str]]:
        """(received, answered, prompt hash) of every request answered with 200."""
        time.sleep(0.7)  # the endpoint writes its log twice a second
        rows = [line.split("\t") for line in self.log.read_text().splitlines()]
        return [(float(row[0]), float(row[1]), row[5]) for row in rows if row[2] == "200"]


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
        return Endpoint(f"http://127.0.0.1:{port}/v1", log)

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


def kill_when(process: subprocess.Popen[bytes], moment: Callable[[], bool]) -> float:
    """SIGKILL the run at a moment; return when."""
    while not moment():
        assert process.poll() is None, "the run ended before the moment came"
        time.sleep(0.005)
    at = time.time()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return at


def test_a_run_killed_in_five_stages_pays_for_nothing_twice_and_gives_the_same_bytes(
    endpoint: Callable[[str], Endpoint], tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base", max_position_embeddings=4096)
    plain, killed = endpoint("plain"), endpoint("killed")
    recipes = {}
    for name, at in (("plain", plain), ("killed", killed)):
        recipes[name] = tmp_path / name / "killed.yaml"
        recipes[name].parent.mkdir()
        recipes[name].write_text(RECIPE.format(url=at.url, base=base))

    output = tmp_path / "output.txt"
    reference = start_run(recipes["plain"], tmp_path / "plain-run", tmp_path / "plain.txt")
    assert reference.wait() == 0, (tmp_path / "plain.txt").read_text()

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
    deaths = []
    for moment in moments:
        deaths.append(kill_when(start_run(recipes["killed"], run, output), moment))
    last = start_run(recipes["killed"], run, output)
    assert last.wait() == 0, output.read_text()

    assert "done before" in output.read_text()
    assert products(run) == products(tmp_path / "plain-run")
    assert result(run) == result(tmp_path / "plain-run")
    answered = killed.answered()
    in_flight = {
        prompt
        for received, done, prompt in answered
        if any(received <= death <= done + 0.1 for death in deaths)
    }
    repeated = {prompt for prompt, times in Counter(row[2] for row in answered).items() if times > 1}
    assert repeated <= in_flight
    assert {row[2] for row in answered} == {row[2] for row in plain.answered()}
