"""What the Ray engine costs beside this machine's, and whether its verdicts are the same.

    python bench/scale.py all [--samples FILE]     every measurement below, and the bars
    python bench/scale.py overhead                 driver CPU an item, for items that do next to nothing
    python bench/scale.py memory                   the driver's memory after 10,000 and after 1,000,000 items
    python bench/scale.py score                    the same programs: here, on Ray, with 1, 2 and 4 workers
    python bench/scale.py rates                    rows a CPU second of the stages, for docs/scale.md
    python bench/scale.py verdicts                 all samples on three nodes, one of them killed half way

Samples are CodeGen-16B's 16,400 (docs/data.md), without those that use over 0.5 s of CPU: a loop costs every
engine its limit and would hide the engine. CPU is that of the whole process tree, on Ray with Ray's own
processes; throughput is by wall time, so run this alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import psutil

from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.execution.engine import Engine, FunctionWork
from evolcoder.execution.opening import open_engine
from evolcoder.models.journal.journal import Journal
from evolcoder.models.protocol import Message, Request
from evolcoder.records import Sample
from evolcoder.runs import write_json_whole
from evolcoder.sandbox.work import SandboxWork
from score import quick_samples

KIND = "humaneval"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["all", "overhead", "memory", "score", "rates", "verdicts"])
    parser.add_argument("--samples", type=Path, default=default_samples())
    parser.add_argument("--each", type=int, default=16, help="samples of each problem that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name, measure in (("overhead", overhead), ("memory", memory), ("rates", rates)):
        if options.what in (name, "all"):
            found[name] = measure()
            print(name, json.dumps(found[name]), flush=True)
    if options.what in ("score", "all"):
        found["score"] = score(options.samples, options.each, options.rounds)
    if options.what in ("verdicts", "all"):
        found["verdicts"] = verdicts(options.samples)
    if options.out:
        write_json_whole(options.out, found)


def default_samples() -> Path:
    data = os.environ.get("EVOLCODER_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(data) / "codet" / "codegen16b-humaneval-t0.8-n100.jsonl.gz"


# -- the engine alone -------------------------------------------------------------------------------------


def overhead(items: int = 200_000) -> dict[str, float]:
    """Return driver CPU an item, in milliseconds, for texts of 1 KB whose length is asked for."""
    with open_engine("ray") as engine, engine.open(FunctionWork(length)) as pool:
        drain(pool.run_many(texts(items // 10)))
        cpu_s, wall_s = time.process_time(), time.monotonic()
        drain(pool.run_many(texts(items)))
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    return {"driver_cpu_ms_an_item": round(1000 * cpu_s / items, 4), "items_a_second": round(items / wall_s)}


def memory() -> dict[str, float]:
    """Return the driver's resident memory in MB after 10,000 and after 1,000,000 texts of 1 KB."""
    found = {}
    with open_engine("ray") as engine, engine.open(FunctionWork(length)) as pool:
        for items in (10_000, 1_000_000):
            drain(pool.run_many(texts(items)))
            found[f"mb_after_{items}"] = round(psutil.Process().memory_info().rss / 1e6, 1)
    return found


def length() -> Any:
    return len


def texts(count: int) -> Iterator[tuple[int, str]]:
    return ((i, f"{i:>1000}") for i in range(count))


def drain(results: Iterable[Any]) -> None:
    for _ in results:
        pass


# -- scoring ----------------------------------------------------------------------------------------------


SIDES = tuple(product(("local", "ray"), (1, 2, 4)))
RATIOS = (
    ("ray / local throughput, 2 workers", "samples_a_second", ("ray", 2), ("local", 2)),
    ("work per CPU second, 2 workers / 1, ray", "cpu_ms_a_sample", ("ray", 1), ("ray", 2)),
    ("work per CPU second, 4 workers / 1, ray", "cpu_ms_a_sample", ("ray", 1), ("ray", 4)),
    ("work per CPU second, 2 workers / 1, local", "cpu_ms_a_sample", ("local", 1), ("local", 2)),
    ("work per CPU second, 4 workers / 1, local", "cpu_ms_a_sample", ("local", 1), ("local", 4)),
)
PARTS = 2
"""A shared machine is another one minutes later: the sides take turns, each with a part of the samples."""
SETTLED_S = 8.0
"""Workers of a cluster are up after this, and Ray has settled."""


def score(path: Path, each: int, rounds: int) -> dict[str, Any]:
    """Judge the same programs by each engine with 1, 2 and 4 workers; return medians of the rounds.

    All of them stay open and take turns at parts of a few seconds. Ratios are of two sides of one round.
    """
    import ray

    benchmark = load_benchmark(KIND)
    samples = quick_samples(path, benchmark, each)
    parts = [samples[part::PARTS] for part in range(PARTS)]
    cores = sum(workers for engine, workers in SIDES if engine == "ray")
    pools: dict[tuple[str, int], Any] = {}
    rounds_of: dict[tuple[str, int], list[dict[str, float]]] = {side: [] for side in SIDES}
    with ExitStack() as opened:
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        opened.callback(ray.shutdown)
        engines = {name: opened.enter_context(open_engine(name)) for name in ("local", "ray")}
        for engine, workers in SIDES:
            pool = opened.enter_context(engines[engine].open(SandboxWork(), workers))
            pools[engine, workers] = pool
            if engine == "ray":
                time.sleep(SETTLED_S)
            score_part(samples[: 40 * workers], benchmark, pool)
        for _ in range(rounds):
            used: dict[tuple[str, int], list[dict[str, float]]] = {side: [] for side in SIDES}
            for turn, part in enumerate(parts):
                for side in SIDES[turn:] + SIDES[:turn]:
                    used[side].append(score_part(part, benchmark, pools[side]))
            for side in SIDES:
                total = {key: sum(one[key] for one in used[side]) for key in used[side][0]}
                rounds_of[side].append(figures(side[0], total))
                print(*side, json.dumps(rounds_of[side][-1]), flush=True)
    assert len({one["passed"] for of in rounds_of.values() for one in of}) == 1, "verdicts differ"
    found: dict[str, Any] = {"samples": len(samples)}
    for (engine, workers), of in rounds_of.items():
        medians = {key: round(statistics.median(one[key] for one in of), 3) for key in of[0]}
        found[f"{engine}, {workers} workers"] = medians
    for name, key, side, other in RATIOS:
        pairs = zip(rounds_of[side], rounds_of[other], strict=True)
        ratios = [one[key] / another[key] for one, another in pairs]
        found[name] = round(statistics.median(ratios), 3)
        found[f"{name}, rounds"] = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(json.dumps(found, indent=2))
    return found


def score_part(samples: list[Sample], benchmark: Benchmark, pool: Any) -> dict[str, float]:
    """Judge samples once and return what it took."""
    driver_s, before, wall_s = time.process_time(), tree_cpu_s(), time.monotonic()
    settings = ScoringSettings(fold=False)
    passed = sum(j.verdict.passed for j in judge_samples(samples, benchmark, settings=settings, sandbox=pool))
    driver_s, wall_s = time.process_time() - driver_s, time.monotonic() - wall_s
    cpu_s = {who: seconds - before.get(who, 0.0) for who, seconds in tree_cpu_s().items()}
    return {
        "samples": len(samples),
        "passed": passed,
        "wall_s": wall_s,
        "cpu_s": sum(cpu_s.values()),
        "ray_cpu_s": cpu_s.get("ray", 0.0),
        "driver_cpu_s": driver_s,
    }


def figures(engine: str, total: dict[str, float]) -> dict[str, float]:
    """Return what a sample took; where Ray's own processes only idle beside an engine, without them."""
    count = total["samples"]
    cpu_s = total["cpu_s"] - (total["ray_cpu_s"] if engine == "local" else 0.0)
    return {
        "samples_a_second": round(count / total["wall_s"], 1),
        "cpu_ms_a_sample": round(1000 * cpu_s / count, 3),
        "ray_cpu_ms_a_sample": round(1000 * total["ray_cpu_s"] / count, 3),
        "driver_cpu_ms_a_sample": round(1000 * total["driver_cpu_s"] / count, 3),
        "passed": total["passed"],
    }


def tree_cpu_s() -> dict[str, float]:
    """Return the CPU seconds of this process and all below it, those it has waited for included.

    By who uses them: "here" for this process, "ray" for what only moves things, "work" for the rest.
    """
    here = psutil.Process()
    total: dict[str, float] = {}
    for process in [here, *here.children(recursive=True)]:
        try:
            own = process.cpu_times()[:4]
            who = "here" if process == here else "ray" if is_rays(process) else "work"
        except psutil.Error:
            continue
        total[who] = total.get(who, 0.0) + sum(own)
    return total


def is_rays(process: psutil.Process) -> bool:
    told = " ".join(process.cmdline())
    return "/ray/" in told and "default_worker" not in told


# -- the same verdicts ------------------------------------------------------------------------------------


def verdicts(path: Path) -> dict[str, Any]:
    """Judge all samples here and on three nodes, one killed half way; raise where a verdict differs."""
    from ray.cluster_utils import Cluster

    benchmark = load_benchmark(KIND)
    samples = [Sample(p.task_id, 0, "", p.canonical_solution) for p in benchmark.problems]
    samples += read_samples(path, benchmark)
    with open_engine("local") as engine:
        here, programs = judged_by(engine, benchmark, samples)
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=node)
    victim = [cluster.add_node(**node) for _ in range(2)][-1]
    with open_engine(f"ray:{cluster.address}") as engine:
        there, _ = judged_by(
            engine,
            benchmark,
            samples,
            lambda: cluster.remove_node(victim, allow_graceful=False),
            programs // 2,
        )
    cluster.shutdown()
    different = [i for i in range(len(samples)) if here[i] != there[i]]
    found = {"samples": len(samples), "passed": sum(p for p, _ in here), "different": len(different)}
    print("verdicts", json.dumps(found), [(samples[i].task_id, here[i], there[i]) for i in different][:20])
    return found


def judged_by(
    engine: Engine,
    benchmark: Benchmark,
    samples: list[Sample],
    happens: Callable[[], None] | None = None,
    after: int = 0,
) -> tuple[list[tuple[bool, str]], int]:
    """Return what is said of each sample, and how many programs ran (equal ones run once)."""
    begun = time.monotonic()
    with engine.open(SandboxWork()) as sandbox:
        watched = Watched(sandbox, happens, after)
        judged = list(judge_samples(samples, benchmark, sandbox=watched))
    print(f"{engine.name}: {watched.outcomes} programs in {time.monotonic() - begun:.0f} s", flush=True)
    assert [judgement.sample for judgement in judged] == samples
    said: list[tuple[bool, str]] = [(j.verdict.passed, j.verdict.reason) for j in judged]
    return said, watched.outcomes


class Watched:
    """A pool in whose midst something happens, once."""

    def __init__(self, pool: Any, happens: Callable[[], None] | None, after: int) -> None:
        self.pool, self.happens, self.after = pool, happens, after
        self.outcomes = 0

    def run_many(self, jobs: Iterable[tuple[Any, Any]], /) -> Iterator[tuple[Any, Any]]:
        """As the pool does."""
        for pair in self.pool.run_many(jobs):
            self.outcomes += 1
            if self.outcomes == self.after and self.happens is not None:
                self.happens()
                print(f"a node was killed after {self.outcomes} programs", flush=True)
            yield pair


# -- the stages -------------------------------------------------------------------------------------------


def rates(limit: int = 800) -> dict[str, float]:
    """Return CPU milliseconds and bytes a row of the stages, over a real evolution run's rows.

    "mapped" is what workers do, "driver" what the driver does itself.
    """
    from evolcoder.evaluate.benchmarks import problem_texts
    from evolcoder.evolve.decontamination import ContaminationIndex
    from evolcoder.evolve.duplicates import DuplicateIndex, Text, batches, sketch_of
    from evolcoder.evolve.row_files import RowFile, write_rows_whole

    data = default_samples().parents[1] / "evol-teacher"
    rows = [row for file in sorted(data.glob("*.json*")) for row in RowFile(file) if row.response]
    rows = rows[:: max(1, len(rows) // limit)]
    texts_of_rows = [Text(row.instruction, row.id) for row in rows]
    found: dict[str, float] = {"rows": len(rows)}

    def timed(name: str, work: Callable[[], Any]) -> None:
        begun = time.process_time()
        work()
        found[name] = round(1000 * (time.process_time() - begun) / len(rows), 4)

    def look(index: DuplicateIndex) -> None:
        for batch in batches(texts_of_rows, 64):
            index.add_new(batch)

    index = ContaminationIndex(problem_texts(["humaneval", "mbpp"]))
    blocks = list(batches(texts_of_rows, 32))
    timed("sketch, mapped, ms", lambda: [sketch_of(block, near=True) for block in blocks])
    timed("sketch and look for duplicates, ms", lambda: look(DuplicateIndex(0.9)))
    found["look for duplicates, driver, ms"] = round(
        found["sketch and look for duplicates, ms"] - found["sketch, mapped, ms"], 4
    )
    found["look for duplicates, driver, ms more a million rows met"] = lookup_growth()
    found |= memory_a_seed()
    timed("learn n-grams, mapped, ms", lambda: index.counts(rows))
    index.learn(rows)
    timed("find copies of problems, mapped, ms", lambda: [index.hits(row) for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows_whole(file, rows)
        found["data set, bytes"] = round(file.stat().st_size / len(rows))
        timed(
            "two requests, journal and write, driver, ms", lambda: asyncio.run(journaled(rows, Path(folder)))
        )
        journal = sum(f.stat().st_size for f in Path(folder).glob("journal.sqlite*"))
        found["journal, bytes"] = round(journal / len(rows))
    return found


def memory_a_seed() -> dict[str, float]:
    """Return the bytes of the driver's memory that a seed of Code Alpaca takes: packed, and as an id met."""
    from evolcoder.evolve.row_files import PackedRows, RowFile

    file = default_samples().parents[1] / "codealpaca" / "code_alpaca_20k.json.gz"
    packed = PackedRows(RowFile(file))
    held = sum(map(sys.getsizeof, packed._blocks))
    met = {hash(row.id) for row in packed}
    ids = sys.getsizeof(met) + sum(map(sys.getsizeof, met))
    return {
        "a packed seed, bytes of memory": round(held / len(packed)),
        "an id that was met, bytes of memory": round(ids / len(packed)),
    }


def lookup_growth(rows: int = 1_000_000, asked: int = 6400) -> float:
    """Return what looking a row up costs more in a table of a million rows, in CPU milliseconds.

    The keys are random: what counts is how many there are.
    """
    import numpy as np

    from evolcoder.evolve.duplicates import BANDS, KeyTable, Spool

    width = 1 + BANDS
    table = KeyTable(Spool())
    random = np.random.default_rng(1)

    def keys(count: int) -> Any:
        return random.integers(0, 1 << 63, count * width, dtype=np.uint64)

    def look() -> float:
        begun = time.process_time()
        for _ in range(asked // 64):
            table.find(keys(64))
        return 1000 * (time.process_time() - begun) / asked

    table.add(keys(1000), np.repeat(np.arange(1000, dtype=np.uint32), width))
    small = look()
    for start in range(1000, rows, 10_000):
        table.add(keys(10_000), np.repeat(np.arange(start, start + 10_000, dtype=np.uint32), width))
    return round((look() - small) * 1e6 / rows, 4)


async def journaled(rows: list[Any], folder: Path) -> None:
    """Have each row's instruction and response answered by a model that has them, through a journal."""
    from evolcoder.models.journal.journal import JournaledModel
    from evolcoder.models.protocol import Completion, LanguageModel, Request

    class Knows(LanguageModel):
        name = "knows"

        async def complete(self, request: Request) -> Completion:
            row = rows[request.index // 2]
            text = row.response if request.index % 2 else row.instruction
            return Completion(text, "stop", len(row.instruction) // 4, len(text) // 4)

        async def close(self) -> None:
            return

    async with Journal(folder / "journal.sqlite") as journal:
        model = JournaledModel(Knows(), journal)
        requests = [
            Request((Message("user", rows[i // 2].instruction),), index=i) for i in range(2 * len(rows))
        ]
        for start in range(0, len(requests), 256):
            await asyncio.gather(*map(model.complete, requests[start : start + 256]))


if __name__ == "__main__":
    main()
