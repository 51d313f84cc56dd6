"""From samples to verdicts: each distinct program runs once in the sandbox, and nothing known runs again.

A program that does not parse is never run. Verdicts come from the cache where the same program met the same
tests, oracle, limits and Python before. (The sandbox itself retries what is the machine's fault.)
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from evolcoder.errors import DataError, nearest
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.benchmarks.benchmark import JobRunner
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.progress import Bar, Progress, SilentProgress
from evolcoder.records import Problem, Sample, Verdict
from evolcoder.runs import canonical_json, content_hash
from evolcoder.sandbox.protocol import Job, Limits

LONGEST_PROGRAM = 1_000_000
"""Characters; a longer "program" is a model gone astray, and parsing it alone would cost gigabytes."""
_WINDOW_SAMPLES = 8192
_WINDOW_CHARS = 64_000_000
_MOST_KNOWN = 65_536
"""Verdicts held in memory, the latest ones (30 MB); a cache knows them all."""
_SCORER_VERSION = 1
"""Part of every cache key; raised when the meaning of a verdict changes."""


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """How samples are judged; all of it is part of a score's name."""

    oracle: str | None = None
    """Named oracle; None: the benchmark's default."""
    timeout_s: float | None = None
    """CPU seconds of a program (of one test, for the EvalPlus oracles); None: the benchmark's default."""
    memory_bytes: int | None = None
    """Memory of a program and all it starts; None: the benchmark's default."""
    base_only: bool = False
    """Judge by the base tests only, where a benchmark has more."""
    all_suites: bool = False
    """Run the further tests of samples that failed the base tests too (EvalPlus's file shows them)."""
    fold: bool = True
    """Run identical programs of a problem once."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A sample, its verdict, and the verdict of each test suite."""

    sample: Sample
    verdict: Verdict
    """Passed only if every suite did; otherwise the first suite's that did not."""
    suites: Mapping[str, Verdict] = field(default_factory=dict)
    """By suite: "base", and "plus" where the benchmark has it and it was judged."""


def judge_samples(
    samples: Iterable[Sample],
    benchmark: Benchmark,
    *,
    settings: ScoringSettings = ScoringSettings(),
    sandbox: JobRunner,
    cache: VerdictCache | None = None,
    progress: Progress | None = None,
) -> Iterator[Judgement]:
    """Yield each sample with its verdicts, in the order given; memory stays bounded for any number.

    Raises DataError for a task id that the benchmark has not, UserError for an oracle that it has not.
    """
    scorer = _Scorer(benchmark, settings, sandbox, cache)
    total = len(samples) if isinstance(samples, (list, tuple)) else None
    iterator = iter(samples)
    with (progress or SilentProgress()).bar(f"score {benchmark.name}", total) as bar:
        while window := _next_window(iterator, max(_WINDOW_SAMPLES, 64 * getattr(sandbox, "workers", 1))):
            yield from scorer.judge(window, bar)


def _next_window(samples: Iterator[Sample], most: int) -> list[Sample]:
    window: list[Sample] = []
    chars = 0
    for sample in islice(samples, most):
        window.append(sample)
        chars += len(sample.raw) + len(sample.program)
        if chars > _WINDOW_CHARS:
            break
    return window


@dataclass(frozen=True, slots=True)
class _Check:
    """One program against one suite."""

    key: str
    problem: Problem
    program: str
    suite: str


class _Scorer:
    def __init__(
        self, benchmark: Benchmark, settings: ScoringSettings, sandbox: JobRunner, cache: VerdictCache | None
    ) -> None:
        self.benchmark = benchmark
        self.oracle = benchmark.checked_oracle(settings.oracle)
        self.settings = settings
        self.sandbox = sandbox
        self.cache = cache
        timeout_s = settings.timeout_s or benchmark.default_timeout_s
        memory_bytes = settings.memory_bytes or benchmark.default_memory_bytes
        self.limits = Limits(cpu_s=timeout_s, memory_bytes=memory_bytes)
        self.suites = benchmark.suites[:1] if settings.base_only else benchmark.suites
        self.known: dict[str, Verdict] = {}
        self.tests_keys: dict[tuple[str, str], bytes] = {}
        # What all programs' keys share, encoded once. A user's benchmark decides by its methods too.
        self.own = [] if benchmark.own is None else [benchmark.own.hash]
        self.version = canonical_json(_SCORER_VERSION)
        self.circumstances = [
            canonical_json(part) for part in ([timeout_s, memory_bytes], platform.python_version(), self.own)
        ]

    def judge(self, window: list[Sample], bar: Bar) -> Iterator[Judgement]:
        """Judge one window of samples, suite after suite, and yield it in order."""
        programs: list[tuple[Problem, str]] = []
        for sample in window:
            problem = self.benchmark.by_task.get(sample.task_id) or self.benchmark.find(sample.task_id)
            if problem is None:
                raise DataError(unknown_task_message(sample.task_id, self.benchmark))
            programs.append((problem, self.benchmark.program(problem, sample)))
        task_ids = dict.fromkeys(problem.task_id for problem, _ in programs)
        self.benchmark.prepare(task_ids, self.sandbox, self.suites)
        found: list[dict[str, Verdict]] = [{} for _ in window]
        for number, suite in enumerate(self.suites):
            keys: dict[int, str] = {}
            asked: Counter[str] = Counter()
            checks: dict[str, _Check] = {}
            named: dict[tuple[str, str, int], str] = {}  # a hash costs more than to look up an equal program
            for i, (problem, program) in enumerate(programs):
                if window[i].absent:
                    found[i][suite] = Verdict(False, "no answer", window[i].absent[:500])
                    bar.advance(number == 0)
                    continue
                failed = any(not v.passed for v in found[i].values())
                if number and failed and not self.settings.all_suites:
                    continue
                same = (problem.task_id, program, 0 if self.settings.fold else i)
                key = named.get(same) or self._key(problem, program, suite, i)
                keys[i] = named[same] = key
                asked[key] += 1
                checks.setdefault(key, _Check(key, problem, program, suite))
            verdicts = self._verdicts(checks, bar, asked if number == 0 else Counter())
            for i, key in keys.items():
                found[i][suite] = verdicts[key]
        for sample, suites in zip(window, found, strict=True):
            failed_one = next((v for v in suites.values() if not v.passed), None)
            yield Judgement(sample, failed_one or suites[self.suites[-1]], suites)

    def _key(self, problem: Problem, program: str, suite: str, number: int) -> str:
        tests = self.tests_keys.get((problem.task_id, suite))
        if tests is None:
            tests = canonical_json(self.benchmark.tests_key(problem, self.oracle, suite))
            self.tests_keys[problem.task_id, suite] = tests
        if self.settings.fold:
            return content_hash(self.version, program, tests, *self.circumstances)
        return content_hash(self.version, program, tests, *self.circumstances[:-1], [number, *self.own])

    def _verdicts(self, checks: dict[str, _Check], bar: Bar, asked: Counter[str]) -> dict[str, Verdict]:
        """Return the verdict of each check by key, from memory, the cache or the sandbox."""
        verdicts = {key: self.known[key] for key in checks if key in self.known}
        if self.cache is not None:
            verdicts |= self.cache.get_many(key for key in checks if key not in verdicts)
        bar.advance(sum(asked[key] for key in verdicts))
        waiting = [check for key, check in checks.items() if key not in verdicts]
        at_once: dict[str, Verdict] = {}
        for check, outcome in self.sandbox.run_many(self._jobs(waiting, at_once)):
            verdict = self.benchmark.judge(check.problem, outcome, self.oracle, check.suite)
            verdicts[check.key] = verdict
            if self.cache is not None:
                self.cache.put(check.key, verdict)
            bar.advance(asked[check.key])
        verdicts |= at_once
        bar.advance(sum(asked[key] for key in at_once))
        if self.cache is not None:
            self.cache.flush()
        if self.settings.fold:
            self.known |= verdicts
            for key in list(islice(self.known, max(0, len(self.known) - _MOST_KNOWN))):
                del self.known[key]
        return verdicts

    def _jobs(self, checks: list[_Check], at_once: dict[str, Verdict]) -> Iterator[tuple[_Check, Job]]:
        """Yield the jobs of what has to run, each when it is asked for; the rest goes into `at_once`."""
        for check in checks:
            what = check.problem, check.program
            if (size := len(check.program)) > LONGEST_PROGRAM:
                detail = f"a program of {size:,} characters; at most {LONGEST_PROGRAM:,} are judged"
                at_once[check.key] = Verdict(False, "unsupported", detail)
            elif verdict := self.benchmark.verdict_at_once(*what, self.oracle, check.suite):
                at_once[check.key] = verdict
            else:
                yield check, self.benchmark.job(*what, self.limits, self.oracle, check.suite)


def unknown_task_message(task_id: str, benchmark: Benchmark) -> str:
    """Return the line that tells a user about a task id the benchmark has not."""
    example = benchmark.problems[0].task_id
    return (
        f"task id {task_id!r} is not in {benchmark.title}{nearest(task_id, benchmark.by_task)}: "
        f"one of its {len(benchmark.problems)} ids like {example!r} is expected"
    )
