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


def finish(recipe: Path, folder: Path, output: Path) -> None:
    """Let the run come to its end."""
    assert start_run(recipe, folder, output).wait() == 0, output.read_text()


def paid_twice(answered: list[tuple[float, float, str]], deaths: list[float]) -> set[str]:
    """Prompts that were answered more than once, but for those in flight when the run was killed."""
    in_flight = {
        prompt
        for received, done, prompt in answered
        if any(received <= death <= done + 0.1 for death in deaths)
    }
    times = Counter(row[2] for row in answered)
    return {prompt for prompt, count in times.items() if count > 1} - in_flight


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
    finish(recipes["plain"], tmp_path / "plain-run", tmp_path / "plain.txt")

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
    finish(recipes["killed"], run, output)

    assert "done before" in output.read_text()
    assert products(run) == products(tmp_path / "plain-run")
    assert result(run) == result(tmp_path / "plain-run")
    assert paid_twice(killed.answered(), deaths) == set()
    assert {row[2] for row in killed.answered()} == {row[2] for row in plain.answered()}


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
        path.write_text(RECIPE.format(url=at.url, base=base))
        return path

    plain = endpoint("plain")
    begun = time.monotonic()
    finish(recipe_at("plain", plain), tmp_path / "plain-run", tmp_path / "plain.txt")
    whole_s = time.monotonic() - begun

    moments = random.Random(int(os.environ["EVOLCODER_SLOW"]))
    kills = 0
    while kills < 20:  # a run that comes to its end before is followed by another
        name = f"killed-{kills}"
        killed, run, output = endpoint(name), tmp_path / f"{name}-run", tmp_path / f"{name}.txt"
        recipe, deaths = recipe_at(name, killed), []
        while kills < 20:
            process = start_run(recipe, run, output)
            try:
                process.wait(moments.uniform(0.05, 0.7) * whole_s)
                break
            except subprocess.TimeoutExpired:
                deaths.append(time.time())
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                print(f"kill {kills}, last line: {(output.read_text().splitlines() or ['none'])[-1]}")
        finish(recipe, run, output)
        assert products(run) == products(tmp_path / "plain-run")
        assert result(run) == result(tmp_path / "plain-run")
        assert paid_twice(killed.answered(), deaths) == set()
        assert {row[2] for row in killed.answered()} == {row[2] for row in plain.answered()}
        said = output.read_text()
        for number in (1, 2):  # once a training is done it is never begun again
            after = said[said.index(f"train round {number}: done in") :]
            assert not re.search(rf"\] train round {number}(;| \()", after)
