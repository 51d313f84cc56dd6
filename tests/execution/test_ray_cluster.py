"""A cluster of three nodes: verdicts equal to this machine's, whatever dies half way.

All 16,400 samples are compared by `bench/scale.py --verdicts`; here the canonical solutions and a share.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.execution.conftest import NODE
from tests.execution.works import Counted

from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import LocalEngine
from evolcoder.records import Sample
from evolcoder.runs import read_jsonl, write_jsonl_whole
from evolcoder.sandbox.work import SandboxWork

SETTINGS = ScoringSettings(timeout_s=0.5, fold=False)


@pytest.fixture(scope="module")
def humaneval(data_folder: Path) -> Benchmark:
    return load_benchmark("humaneval")


@pytest.fixture(scope="module")
def samples(humaneval: Benchmark, data_folder: Path) -> list[Sample]:
    canonical = [Sample(p.task_id, 0, p.canonical_solution, p.canonical_solution) for p in humaneval.problems]
    generated = read_samples(data_folder / "codet" / "codegen16b-humaneval-t0.8-n100.jsonl.gz", humaneval)
    return canonical + [sample for sample in generated if sample.index < 2]


@pytest.fixture(scope="module")
def verdicts_here(humaneval: Benchmark, samples: list[Sample]) -> list[tuple[bool, str]]:
    return verdicts(LocalEngine(), humaneval, samples)


def verdicts(engine: Engine, benchmark: Benchmark, samples: Iterable[Sample]) -> list[tuple[bool, str]]:
    with engine.open(SandboxWork()) as sandbox:
        judged = judge_samples(samples, benchmark, settings=SETTINGS, sandbox=sandbox)
        return [(j.verdict.passed, j.verdict.reason) for j in judged]


def runs_of(log: Path) -> Counter[int]:
    return Counter(int(line.split()[0]) for line in log.read_text().splitlines())


def test_verdicts_equal_this_machines_though_a_node_dies_half_way(
    ray_engine: Engine,
    cluster: Any,
    humaneval: Benchmark,
    samples: list[Sample],
    verdicts_here: list[tuple[bool, str]],
) -> None:
    killed = False
    victim = cluster.add_node(wait=True, **NODE)

    with ray_engine.open(SandboxWork()) as sandbox:

        class Watched:
            def run_many(self, jobs: Iterable[tuple[Any, Any]], /) -> Iterator[tuple[Any, Any]]:
                nonlocal killed
                for count, pair in enumerate(sandbox.run_many(jobs)):
                    if count == len(samples) // 2 and not killed:
                        cluster.remove_node(victim, allow_graceful=False)
                        killed = True
                    yield pair

        judged = list(judge_samples(samples, humaneval, settings=SETTINGS, sandbox=Watched()))
    assert killed
    assert [j.sample for j in judged] == samples
    assert [(j.verdict.passed, j.verdict.reason) for j in judged] == verdicts_here
    assert all(passed for passed, _ in verdicts_here[:164])
    assert 0.1 < sum(passed for passed, _ in verdicts_here[164:]) / 328 < 0.4


def test_items_of_a_dead_node_run_again_and_finished_ones_never(
    ray_engine: Engine, cluster: Any, tmp_path: Path
) -> None:
    log = tmp_path / "runs"
    victim = cluster.add_node(wait=True, **NODE)
    finished: list[int] = []
    finished_at_the_kill: set[int] = set()
    with ray_engine.open(Counted(str(log), sleep_s=0.01)) as pool:
        for tag, _ in pool.run_many((i, i) for i in range(900)):
            finished.append(tag)
            if len(finished) == 400:
                cluster.remove_node(victim, allow_graceful=False)
                finished_at_the_kill = set(finished)
    assert sorted(finished) == list(range(900))
    runs = runs_of(log)
    assert max(runs.values()) <= 2
    assert all(runs[item] == 1 for item in finished_at_the_kill)


def test_an_item_that_kills_its_worker_three_times_is_set_aside_and_the_rest_goes_on(
    ray_engine: Engine, tmp_path: Path
) -> None:
    log = tmp_path / "runs"
    with ray_engine.open(Counted(str(log), sleep_s=0.002, poison=(77,))) as pool:
        found = dict(pool.run_many((i, i) for i in range(300)))
    what, item, reason = found.pop(77)
    assert (what, item) == ("set aside", 77)
    assert reason.startswith("its worker died 3 times: ")
    assert found == {i: 2 * i for i in range(300) if i != 77}
    assert runs_of(log)[77] == 3


def test_a_worker_may_take_long_to_get_ready(ray_engine: Engine) -> None:
    with ray_engine.open(Counted(opens_after_s=1.5), workers=1) as pool:
        assert list(pool.map(range(20))) == [2 * i for i in range(20)]


def test_a_larger_pool_beside_a_smaller_one_gets_its_workers_at_once(
    ray_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evolcoder.execution.ray.engine._LOOK_EVERY_S", 1e9)
    with ray_engine.open(Counted(), workers=1) as small, ray_engine.open(Counted(), workers=3) as large:
        assert (small.workers, large.workers) == (1, 3)


def test_a_missing_token_is_told_in_one_line(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"task_id": "HumanEval/0", "completion": "    pass"}\n')
    command = [sys.executable, "-m", "evolcoder", "score", str(tmp_path / "samples.jsonl"), "-b", "humaneval"]
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}
    done = subprocess.run(
        [*command, "--engine", f"ray:{cluster.address}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no Ray cluster answers at {cluster.address} (RAY_AUTH_TOKEN_PATH")
    assert "RAY_AUTH_MODE=token" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_job_that_is_set_aside_is_no_verdict_on_its_program() -> None:
    from evolcoder.sandbox.protocol import StdioJob

    outcome = SandboxWork().set_aside(StdioJob("pass"), "its worker died 3 times: killed")
    assert outcome.verdict.reason == "infrastructure"
    assert not outcome.verdict.passed
    assert "3 times" in outcome.verdict.detail


def test_a_node_that_joins_is_put_to_work(ray_engine: Engine, cluster: Any, tmp_path: Path) -> None:
    log = tmp_path / "runs"
    joined: Any = None
    with ray_engine.open(Counted(str(log), sleep_s=0.02)) as pool:
        before = len(cluster.list_all_nodes())  # of one core, so of one worker, each
        for number, _ in pool.run_many((i, i) for i in range(20_000)):
            if joined is None:
                joined = cluster.add_node(wait=True, **NODE)
            if number % 50 == 0 and len({line.split()[1] for line in log.open()}) > before:
                break
            assert number < 19_000
    cluster.remove_node(joined)


def test_a_driver_that_was_killed_and_is_started_again_continues(
    cluster: Any, samples: list[Sample], verdicts_here: list[tuple[bool, str]], tmp_path: Path
) -> None:
    file, out = tmp_path / "samples.jsonl", tmp_path / "verdicts.jsonl"
    write_jsonl_whole(file, ({"task_id": s.task_id, "completion": s.program} for s in samples[164:]))
    database = tmp_path / "cache" / "verdicts.sqlite"
    command = [sys.executable, "-m", "evolcoder", "score", str(file), "-b", "humaneval", "--timeout", "0.5"]
    command += ["--engine", f"ray:{cluster.address}", "--out", str(out), "-k", "1"]
    environment = {**os.environ, "EVOLCODER_CACHE": str(tmp_path / "cache")}
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while len(known(database)) < 60 and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    kept = known(database)
    assert 60 <= len(kept) < 300
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    rows = [row for _, row in read_jsonl(out)]
    assert [(row["passed"], row["reason"]) for row in rows] == verdicts_here[164:]
    # A program that ran again would have another CPU time.
    assert kept.items() <= known(database).items()


def known(database: Path) -> dict[str, str]:
    """Return the verdicts that a cache holds, by key."""
    if not database.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return dict(connection.execute("SELECT key, verdict FROM verdicts"))
    except sqlite3.Error:
        return {}
