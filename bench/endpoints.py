"""Measure the request engine against a fake endpoint: rate, CPU a request, memory, refusals.

Starts the endpoint script given (an OpenAI-compatible fake that takes --port, --latency-ms, --p429, ... and
answers /stats), asks `--rows` chains of `--steps` requests each (every one depends on the answer before it,
as evolution does) through the journal, and prints one JSON line.

    python bench/endpoints.py --endpoint-script FAKE.py --rows 5000 --steps 6 --concurrency 256
    python bench/endpoints.py --endpoint-script FAKE.py --rows 5000 -- --p429 0.03 --p500 0.02

bench/evolve.py measures the whole command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from evolcoder.execution.bounded import map_bounded
from evolcoder.execution.event_loop import run_async
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import open_model
from evolcoder.models.protocol import LanguageModel, Message, Request, Sampling
from evolcoder.models.stats import stats_of
from fake_endpoint import fake_endpoint


async def chain(model: LanguageModel, row: int, steps: int) -> tuple[int, int, str]:
    """Ask one row's requests in turn; return how many answers are valid, how many empty, and the last."""
    valid = empty = 0
    text = f"[task-{row}] Write a Python function that reverses the words of a sentence."
    for step in range(steps):
        opening = "Please increase the difficulty of" if step % 2 == 0 else "Answer"
        request = Request(
            (Message("user", f"{opening} step {step} of row {row}:\n{text}"),), Sampling(temperature=1.0)
        )
        answer = await model.complete(request)
        valid += bool(answer.text.strip())
        empty += not answer.text.strip()
        text = f"[task-{row}] {answer.text[:300]}"
    return valid, empty, text


async def ask_all(arguments: argparse.Namespace, base_url: str, journal_path: Path) -> dict[str, Any]:
    """Ask everything and return what was counted."""
    settings = EndpointSettings(concurrency=arguments.concurrency, rpm=arguments.rpm)
    async with Journal(journal_path, commit_every_s=arguments.commit_ms / 1000) as journal:
        model = open_model("openai:fake", base_url=base_url, journal=journal, settings=settings)
        totals = [0, 0]
        digest = hashlib.sha256()
        marks: list[int] = []

        async def one(row: int) -> tuple[int, int, str]:
            return await chain(model, row, arguments.steps)

        # More rows than requests in flight: a row whose answer becomes durable leaves its place to another.
        rows_at_once = arguments.concurrency * 5 // 4
        begun, cpu = time.perf_counter(), time.process_time()
        async with aclosing(map_bounded(one, range(arguments.rows), rows_at_once)) as results:
            done = 0
            async for valid, empty, text in results:
                digest.update(text.encode())
                totals[0] += valid
                totals[1] += empty
                done += 1
                if done % max(arguments.rows // 4, 1) == 0:
                    marks.append(resident_mb())
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        stats = stats_of(model)
        assert stats is not None
        await model.close()
    n = arguments.rows * arguments.steps
    ideal = n * arguments.latency_ms / 1000 / arguments.concurrency
    return {
        "requests": n,
        "seconds": round(seconds, 2),
        "times_ideal": round(seconds / ideal, 3),
        "per_second": round(n / seconds, 1),
        "cpu_ms_per_request": round(1000 * cpu / n, 3),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "rss_mb_by_quarter": marks,
        "valid": totals[0],
        "empty": totals[1],
        "answers": digest.hexdigest()[:16],
        "sent": stats.sent,
        "hits": stats.hits,
        "retries": dict(stats.retries),
        "hedged": stats.hedged,
        "hedges_won": stats.hedges_won,
        "allowed": stats.allowed,
        "rate": stats.per_second,
        "p50_s": round(stats.latency.quantile(0.5), 3),
        "p95_s": round(stats.latency.quantile(0.95), 3),
    }


def resident_mb() -> int:
    """Memory resident now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def run_with_kills(arguments: argparse.Namespace, base_url: str, journal: Path) -> dict[str, Any]:
    """Run in a process that is killed at random moments and started again; return the last one's counts."""
    command = [sys.executable, __file__, "--endpoint-script", "-", "--base-url", base_url]
    command += ["--journal", str(journal), "--rows", str(arguments.rows), "--steps", str(arguments.steps)]
    command += ["--concurrency", str(arguments.concurrency), "--commit-ms", str(arguments.commit_ms)]
    ideal = arguments.rows * arguments.steps * arguments.latency_ms / 1000 / arguments.concurrency
    moments = random.Random(0)
    for _ in range(arguments.kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(0.4 + moments.uniform(0.3, 1.7) * ideal / arguments.kills)
        process.kill()
        process.wait()
    finished = subprocess.run(command, capture_output=True, check=True)
    counted: dict[str, Any] = json.loads(finished.stdout)
    return counted


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--endpoint-script", required=True)
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=200)
    parser.add_argument("--rpm", type=float, default=None, help="tell the client the limit")
    parser.add_argument("--commit-ms", type=float, default=5)
    parser.add_argument("--journal", type=Path, default=None, help="keep the journal here; resumes")
    parser.add_argument("--base-url", default=None, help="ask this server, start none")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILL the client at this many random moments")
    parser.add_argument("flags", nargs="*", help="after --: further flags of the endpoint")
    arguments = parser.parse_args()
    if arguments.base_url:
        print(json.dumps(run_async(ask_all(arguments, arguments.base_url, arguments.journal))))
        return
    flags = ["--latency-ms", str(arguments.latency_ms), *arguments.flags]
    with (
        fake_endpoint(arguments.endpoint_script, flags) as endpoint,
        tempfile.TemporaryDirectory() as folder,
    ):
        path = arguments.journal or Path(folder) / "journal.sqlite"
        if arguments.kills:
            counted = run_with_kills(arguments, endpoint.url, path)
        else:
            counted = run_async(ask_all(arguments, endpoint.url, path))
        server = endpoint.stats()
    names = ("req", "ok", "repeat_ok", "s429", "s500", "hang", "malformed", "max_inflight", "server_cpu_s")
    counted["server"] = {name: server[name] for name in names if name in server}
    span = server["t1"] - server["t0"]
    counted["server"]["ok_per_second"] = round(server.get("ok", 0) / span, 2) if span else None
    print(json.dumps(counted))


if __name__ == "__main__":
    main()
