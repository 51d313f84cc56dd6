"""How fast MultiPL-E's languages are compiled and judged, and that known programs are judged right.

    python bench/multipl_e.py                     # throughput, a line a language
    python bench/multipl_e.py --known             # all known right and wrong programs of the tests
    python bench/multipl_e.py --plain             # throughput without what is prepared once for a compiler
    python bench/multipl_e.py --soak 200 -l js    # many programs, looking for processes that are left

Programs are the known ones of `tests/evaluate/known_programs/`. Throughput is measured on those that end by
themselves, CPU seconds are those of the program and its compiler as the sandbox counts them. The benchmark's
data comes from EVOLCODER_DATA or is downloaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.benchmarks.multipl_e import prepared
from evolcoder.evaluate.benchmarks.multipl_e.languages import LANGUAGES
from evolcoder.evaluate.benchmarks.multipl_e.toolchains import MissingToolchainError
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.records import Sample, Verdict
from evolcoder.sandbox import Sandbox

TIMEOUT_S = 2.0
_KNOWN = Path(__file__).resolve().parent.parent / "tests" / "evaluate" / "known.py"


def known_programs(language: str) -> list[Any]:
    """Return the tests' known programs of a language."""
    spec = importlib.util.spec_from_file_location("known", _KNOWN)
    assert spec is not None and spec.loader is not None
    module = sys.modules.setdefault("known", importlib.util.module_from_spec(spec))
    if not hasattr(module, "known_programs"):
        spec.loader.exec_module(module)
    return list(module.known_programs(language))


def judged(benchmark: Benchmark, programs: list[Any], workers: int) -> tuple[list[Verdict], float, list[str]]:
    """Judge every program, equal ones too; return (verdicts, wall seconds, processes left after the end)."""
    samples = []
    for index, program in enumerate(programs):
        problem = benchmark.find(program.number)
        assert problem is not None
        samples.append(Sample(problem.task_id, index, program.completion, program.completion))
    with Sandbox(workers=workers) as sandbox:
        benchmark.prepare((), sandbox)
        settings = ScoringSettings(timeout_s=TIMEOUT_S, fold=False)
        list(judge_samples(samples[:1], benchmark, settings=settings, sandbox=sandbox))  # containers start
        begun = time.monotonic()
        verdicts = [j.verdict for j in judge_samples(samples, benchmark, settings=settings, sandbox=sandbox)]
        seconds = time.monotonic() - begun
        users = {worker._uid for worker in sandbox._all}
    return verdicts, seconds, survivors(users)


def survivors(users: set[int]) -> list[str]:
    """Return the command lines of processes of the users that a sandbox ran its programs as."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid in users:
                found.append(folder.joinpath("cmdline").read_text().replace("\0", " ")[:80])
        except OSError:
            continue
    return found


def main() -> None:
    """Print a line a language."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-l", "--language", action="append", choices=LANGUAGES)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="take every Nth program")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.plain:
        prepared._MAKERS.clear()
    wrong = 0
    for language in arguments.language or LANGUAGES:
        benchmark = load_benchmark(f"multipl-e:{language}")
        try:
            benchmark.check_ready()
        except MissingToolchainError as error:
            print(f"{language:<6} -      {error}")
            continue
        programs = known_programs(language)
        if not arguments.known:
            programs = [program for program in programs if program.reason != "timeout"]
        programs = programs[:: arguments.every]
        if arguments.soak:
            programs = [programs[at % len(programs)] for at in range(arguments.soak)]
        verdicts, seconds, left = judged(benchmark, programs, arguments.workers)
        bad = [(p, v) for p, v in zip(programs, verdicts, strict=True) if p.reason != v.reason]
        wrong += len(bad)
        cpu_s = sorted(v.cpu_s for p, v in zip(programs, verdicts, strict=True) if p.reason != "timeout")
        peak = max(verdict.peak_memory_bytes for verdict in verdicts) >> 20
        print(
            f"{language:<6} {len(programs):>4} programs, {len(bad)} misjudged, "
            f"{1000 * cpu_s[len(cpu_s) // 2]:6.0f} ms CPU (median), {len(programs) / seconds:6.2f} a second, "
            f"{peak} MiB" + (f", {len(left)} processes left {left[:3]}" if arguments.soak else ""),
            flush=True,
        )
        for program, verdict in bad:
            print(f"       {program.number}: {verdict.reason} ({verdict.detail}), {program.reason} is right")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
