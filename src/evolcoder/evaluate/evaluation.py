"""Measure a model on a benchmark: sample, extract, judge, sum up. Programs are judged while the model writes.

Every answer is in the model's journal (if it has one) and every verdict in the cache, so a stopped evaluation
continues where it stopped; the files in `out` appear whole at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark, needs_judge
from evolcoder.evaluate.evaluation_files import refuse_other_scores, write_evaluation
from evolcoder.evaluate.own_tests import check_own_tests
from evolcoder.evaluate.sampling import Answer, answers, subset
from evolcoder.evaluate.score_file import verdict_row
from evolcoder.evaluate.scoring import Judgement, ScoringSettings, judge_samples
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.evaluate.styles import default_extraction
from evolcoder.evaluate.tally import Tally
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.execution.engine import Engine, Pool
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.models.protocol import LanguageModel, Watchable
from evolcoder.progress import Bar, Progress, SilentProgress
from evolcoder.records import Sample, Score
from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.work import SandboxWork

KS = (1, 10, 100)
_BATCH = 64
"""Samples handed to the scorer at a time, at most (eight a worker where that is more); the first ones are not
kept waiting for more."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What an evaluation gave."""

    scores: list[Score]
    """pass@k for each k of 1, 10, 100 that the samples allow; pass@1 first. With more than one test suite the
    base tests alone follow."""
    n_problems: int
    seconds: float
    """Wall time, sampling and judging together."""
    passed: dict[str, list[bool]]
    """By task id, in the order of the samples."""
    reasons: dict[str, int]
    """Verdicts by reason, most frequent first."""
    generated_tokens: int
    """Tokens in the answers, those from the journal included."""
    families: dict[str, str] = field(default_factory=dict)
    """Of the problems measured that have kin, by task id."""

    @property
    def n_families(self) -> int:
        """How many families the problems are of; one without kin is a family of its own."""
        return len({self.families.get(task_id, task_id) for task_id in self.passed})


async def evaluate_model(
    model: LanguageModel,
    benchmark_name: str,
    settings: EvaluationSettings,
    out: Path,
    progress: Progress | None = None,
    engine: Engine = THIS_MACHINE,
    *,
    overwrite: bool = True,
    any_style: bool = False,
) -> EvaluationResult:
    """Sample `model` on a benchmark, judge it, and write samples, verdicts and scores into the folder `out`.

    Without `overwrite`, scores of another model or by other settings that `out` holds are not written over;
    with `any_style` the style may differ, for the endpoint is still to say which one it takes. Raises
    UserError for such scores and for what is not known, SandboxError where programs cannot be run safely.
    """
    begun = time.monotonic()
    progress = progress or SilentProgress()
    benchmark = load_benchmark(benchmark_name)
    if isinstance(benchmark, JudgedBenchmark):
        raise needs_judge(benchmark.name)
    benchmark.checked_oracle(settings.oracle)
    benchmark.check_ready()
    await asyncio.to_thread(check_own_tests, benchmark, False, engine)
    problems = subset(benchmark.problems, settings.limit)
    order = {problem.task_id: at for at, problem in enumerate(problems)}
    if not overwrite:
        named = named_settings(settings, benchmark, model.name, len(problems), "")
        free = ("style", "extract", "preset") if any_style else ()
        refuse_other_scores(out / "scores.json", named, free, order)
    total = len(problems) * settings.n
    tokens = 0
    with (
        progress.bar(f"write {benchmark.name}", total) as writing,
        progress.bar(f"judge {benchmark.name}", total) as judging,
        _ScoringThread(benchmark, settings, judging, engine) as scoring,
    ):
        _show_steps(model, writing)
        stream = answers(model, benchmark, problems, settings)
        async with contextlib.aclosing(stream):
            async for answer in stream:
                tokens += answer.completion.completion_tokens
                writing.advance()
                scoring.take(answer)
        judged = await asyncio.to_thread(scoring.finish)
        level = scoring.level
    judged.sort(key=lambda pair: (order[pair[0].problem.task_id], pair[0].index))
    named = named_settings(settings, benchmark, model.name, len(problems), level)
    tally = Tally(benchmark)
    for _, judgement in judged:
        tally.add(judgement)
    result = EvaluationResult(
        scores=tally.scores(KS, named),
        n_problems=len(tally.passed),
        seconds=time.monotonic() - begun,
        passed=tally.passed,
        reasons=dict(sorted(tally.reasons.items(), key=lambda item: (-item[1], item[0]))),
        generated_tokens=tokens,
        families={task: benchmark.families[task] for task in tally.passed if task in benchmark.families},
    )
    _write(out, judged, result, named)
    return result


def _show_steps(model: LanguageModel, bar: Bar) -> None:
    """Have a model in this process show what it writes; its answers come many at a time."""
    inner = getattr(model, "inner", model)
    if not isinstance(inner, Watchable):
        return
    tokens = ended = 0

    def tell(more_tokens: int, more_ended: int) -> None:
        nonlocal tokens, ended
        tokens, ended = tokens + more_tokens, ended + more_ended
        bar.advance(0, written=ended, tokens=tokens)

    inner.watch(tell)


class _ScoringThread:
    """Judges answers in a thread of its own, in the order they come."""

    def __init__(self, benchmark: Benchmark, settings: EvaluationSettings, bar: Bar, engine: Engine) -> None:
        self._benchmark = benchmark
        self._engine = engine
        self._how: Extraction = settings.extract or default_extraction(settings.style)
        self._scoring = ScoringSettings(oracle=settings.oracle, timeout_s=settings.timeout_s)
        self._workers = settings.workers
        self._bar = bar
        self._queue: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._judged: list[tuple[Answer, Judgement]] = []
        self._failure: BaseException | None = None
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self.level = ""

    def __enter__(self) -> _ScoringThread:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # After a failure of the model, or Ctrl-C, what is not judged yet need not be: it is in the journal.
        self._abandoned.set()
        self._queue.put(None)
        self._thread.join()

    def take(self, answer: Answer) -> None:
        """Hand over one answer; raises what judging failed with, before more is written."""
        self._queue.put(answer)
        if self._failure is not None:
            raise self._failure

    def finish(self) -> list[tuple[Answer, Judgement]]:
        """Wait for the verdicts of all answers taken and return them; raises what judging failed with."""
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._judged

    def _run(self) -> None:
        try:
            with VerdictCache() as cache, self._engine.open(SandboxWork(), self._workers) as sandbox:
                for batch in self._batches(sandbox):
                    samples = [self._sample(answer) for answer in batch]
                    judged = judge_samples(
                        samples, self._benchmark, settings=self._scoring, sandbox=sandbox, cache=cache
                    )
                    for pair in zip(batch, judged, strict=True):
                        self._judged.append(pair)
                        self._bar.advance()
                self.level = sandbox.label
        except BaseException as error:  # it is raised again where the answers come from
            self._failure = error

    def _batches(self, sandbox: Pool[Job, Outcome]) -> Iterator[list[Answer]]:
        """Yield answers as they come, as many together as wait, up to the end mark."""
        answer = self._queue.get()
        while answer is not None and not self._abandoned.is_set():
            batch = [answer]
            while len(batch) < max(_BATCH, 8 * sandbox.workers) and not self._queue.empty():
                if (answer := self._queue.get()) is None:
                    break
                batch.append(answer)
            yield batch
            answer = answer and self._queue.get()

    def _sample(self, answer: Answer) -> Sample:
        if answer.absent:
            return Sample(answer.problem.task_id, answer.index, answer.raw, "", absent=answer.absent)
        return self._benchmark.sample(answer.problem, answer.index, answer.raw, self._how)


def named_settings(
    settings: EvaluationSettings, benchmark: Benchmark, model_name: str, n_problems: int, level: str
) -> dict[str, str]:
    """Return all that names a score, as text: two scores compare only where these agree."""
    named = {
        "model": model_name,
        "style": settings.style,
        "extract": settings.extract or default_extraction(settings.style),
        "decoding": "greedy"
        if settings.temperature == 0
        else f"n={settings.n} T={settings.temperature:g} top_p={settings.top_p:g} seed={settings.seed}",
        "max_tokens": str(settings.max_tokens),
        "data": benchmark.version or "only version",
        "oracle": benchmark.checked_oracle(settings.oracle),
        "timeout_s": f"{settings.timeout_s or benchmark.default_timeout_s:g}",
        "problems": f"{n_problems} of {len(benchmark.problems)}"
        + (", evenly spaced" if n_problems < len(benchmark.problems) else ""),
        "sandbox": level,
        **benchmark.further_settings(),
    }
    if settings.style == "wizardcoder" or settings.preset != "published":
        named["preset"] = settings.preset
    return named


_TIMED = ("cpu_s", "wall_s", "peak_memory_bytes")


def _write(
    out: Path, judged: Sequence[tuple[Answer, Judgement]], result: EvaluationResult, named: dict[str, str]
) -> None:
    samples = (
        {
            "task_id": answer.problem.task_id,
            "index": answer.index,
            "solution" if judgement.sample.whole else "completion": None
            if answer.absent
            else judgement.sample.program,
            "all_code": None if answer.absent else answer.prompt + answer.raw,
            "finish_reason": answer.completion.finish_reason,
            **({"absent": answer.absent} if answer.absent else {}),
        }
        for answer, judgement in judged
    )
    rows = (verdict_row(judgement) for _, judgement in judged)
    verdicts = ({name: value for name, value in row.items() if name not in _TIMED} for row in rows)
    scores = {
        "scores": [asdict(score) for score in result.scores],
        "problems": result.passed,
        **({"families": result.families} if result.families else {}),
        "reasons": result.reasons,
    }
    write_evaluation(out, samples, verdicts, scores, named, result.generated_tokens, result.seconds)
