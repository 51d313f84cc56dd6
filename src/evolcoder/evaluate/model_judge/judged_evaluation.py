"""Measure a model on a benchmark that a model judges: answer, judge, sum up, write.

Answers and judgements are replies in one journal, so a stopped evaluation continues where it stopped; the
files in `out` appear whole at the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark, needs_judge
from evolcoder.evaluate.evaluation_files import refuse_other_scores, write_evaluation
from evolcoder.evaluate.model_judge.dialogues import Dialogue, answers_file, dialogues, read_dialogues
from evolcoder.evaluate.model_judge.judged_scores import (
    Positions,
    counts,
    judged_scores,
    positions,
    win_counts,
    worth_by_task,
)
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.evaluate.model_judge.verdicts import JudgedTurn, judged_turns
from evolcoder.evaluate.sampling import subset
from evolcoder.evaluate.settings import EvaluationSettings, trained_style
from evolcoder.execution.engine import Engine
from evolcoder.models.opening import check_model, is_remote
from evolcoder.models.protocol import LanguageModel
from evolcoder.models.session import ModelChoice, model_session
from evolcoder.progress import Progress
from evolcoder.records import Problem, Score


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """Where the models of an evaluation work and what they may spend."""

    journal: Path
    """The file that keeps all replies."""
    engine: Engine
    progress: Progress
    max_usd: float | None = None
    """Most US dollars for all requests of the journal."""
    max_requests: int | None = None
    overwrite: bool = True
    """Whether scores of another model, or by other settings, may be written over."""


@dataclass(frozen=True, slots=True)
class JudgedResult:
    """What a judged evaluation gave."""

    scores: list[Score]
    """In all first; beside a win rate the length-controlled one; then each part of the benchmark."""
    n_problems: int
    seconds: float
    reasons: dict[str, int]
    """How often the judge said what."""
    positions: Positions
    """How its choices depend on the order of the answers."""
    wins: dict[str, list[int]]
    """[wins, ties, losses] by the name of a score; {} where each answer was rated alone."""
    passed: dict[str, list[float]]
    """The worth of each sample by task id: a rating over 10; 1, 0.5 or 0 for a win, tie or loss."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers with the judge's verdicts, before they are summed up."""

    answers: tuple[Dialogue, ...]
    others: tuple[Dialogue, ...]
    """What they were set beside; () where each answer was rated alone."""
    turns: tuple[JudgedTurn, ...]
    judge: str
    """The judge's name."""


async def evaluate_judged(
    model: ModelChoice,
    benchmark_name: str,
    settings: EvaluationSettings,
    judge: JudgeSettings,
    out: Path,
    context: EvaluationContext,
) -> JudgedResult:
    """Have `model` answer a benchmark's instructions and `judge` judge them; write all into the folder `out`.

    Raises UserError for a benchmark that no model judges and for an `out` that holds what these answers are
    set beside or, unless it may be written over, other scores; DataError for a file of answers, or
    where none of the judge's replies can be read, and what the models raise.
    """
    begun = time.monotonic()
    benchmark = judged_benchmark(benchmark_name)
    problems = subset(benchmark.problems, settings.limit)
    task_ids = [problem.task_id for problem in problems]
    beside = answers_file(judge.against, benchmark.name) if judge.against else None
    if beside is not None and beside.resolve() == (out / "samples.jsonl").resolve():
        raise UserError(f"{beside}: set beside the answers that would overwrite it; name another folder")
    if not context.overwrite:
        named = _named_settings(settings, judge, benchmark, problems, model.model, judge.model)
        refuse_other_scores(out / "scores.json", named, ("judge",), task_ids)
    judged = await answer_and_judge(model, benchmark, problems, settings, judge, context)
    named = _named_settings(settings, judge, benchmark, problems, model.model, judged.judge)
    if not context.overwrite:  # once more: the judge's own name is known when it was asked
        refuse_other_scores(out / "scores.json", named, (), task_ids)
    try:
        scores = judged_scores(judged.turns, benchmark, named)
    except ValueError as error:
        first = next((reply for turn in judged.turns for reply in turn.replies), "")
        raise DataError(
            f"{benchmark.name}: no verdict can be read in {len(judged.turns)} judgements of {judged.judge}, "
            f"the first is {first[:80]!r}; a small judge needs worked examples (shots)"
        ) from error
    result = JudgedResult(
        scores=scores,
        n_problems=len(problems),
        seconds=time.monotonic() - begun,
        reasons=counts(judged.turns),
        positions=positions(judged.turns),
        wins=win_counts(judged.turns, benchmark) if judge.against else {},
        passed=worth_by_task(judged.turns),
    )
    _write(out, judged, result, named)
    return result


async def answer_and_judge(
    model: ModelChoice,
    benchmark: JudgedBenchmark,
    problems: Sequence[Problem],
    settings: EvaluationSettings,
    judge: JudgeSettings,
    context: EvaluationContext,
) -> Judged:
    """Ask the model, then what it is set beside, then the judge; one is closed before the next is opened."""
    check_judge(judge, benchmark, problems)
    answers = await _answers(model, benchmark, problems, settings, context)
    others: dict[str, Dialogue] | None = None
    if judge.against and (path := answers_file(judge.against, benchmark.name)) is not None:
        others = read_dialogues(path, benchmark, problems)
    elif judge.against:
        choice = ModelChoice(judge.against, judge.base_url, judge.endpoint, judge.local)
        one = replace(settings, n=1, style=trained_style(judge.against) or "chat")
        beside = await _answers(choice, benchmark, problems, one, context)
        others = {dialogue.problem.task_id: dialogue for dialogue in beside}
    async with _session(judge, context) as opened:
        in_all = sum(len(benchmark.turns(dialogue.problem)) for dialogue in answers)
        with context.progress.bar(f"judge {benchmark.name}", in_all) as bar:
            turns = await judged_turns(opened, benchmark, answers, others, judge, bar)
        return Judged(tuple(answers), tuple((others or {}).values()), tuple(turns), opened.name)


def judged_benchmark(name: str) -> JudgedBenchmark:
    """Return a benchmark that a model judges; raises UserError for any other."""
    benchmark = load_benchmark(name)
    if not isinstance(benchmark, JudgedBenchmark):
        raise UserError(f"{name} is judged without a model; leave out the judge")
    return benchmark


def check_judge(judge: JudgeSettings | None, benchmark: JudgedBenchmark, problems: Sequence[Problem]) -> None:
    """Find out before anything is asked what would end an evaluation.

    Raises UserError where there is no judge, ModelError for one in this process that is not there, UserError
    or DataError for the file of answers that these are set beside, which has one to each of `problems`.
    """
    if judge is None:
        raise needs_judge(benchmark.name)
    for model in filter(None, (judge.model, judge.against)):
        if model == judge.against and (path := answers_file(model, benchmark.name)) is not None:
            read_dialogues(path, benchmark, problems)
        else:
            check_model(model)


async def _answers(
    model: ModelChoice,
    benchmark: JudgedBenchmark,
    problems: Sequence[Problem],
    settings: EvaluationSettings,
    context: EvaluationContext,
) -> list[Dialogue]:
    async with _session(model, context) as opened:
        total = len(problems) * settings.n
        with context.progress.bar(f"answer {benchmark.name} ({opened.name})", total) as bar:
            return await dialogues(opened, benchmark, problems, settings, bar)


def _session(choice: ModelChoice, context: EvaluationContext) -> AbstractAsyncContextManager[LanguageModel]:
    """Open one of the models; an address is for those behind an endpoint, of which some may be none."""
    if not is_remote(choice.model):
        choice = replace(choice, base_url=None)
    return model_session(
        choice, context.journal, context.engine, max_usd=context.max_usd, max_requests=context.max_requests
    )


def _named_settings(
    settings: EvaluationSettings,
    judge: JudgeSettings,
    benchmark: JudgedBenchmark,
    problems: Sequence[Problem],
    model: str,
    judge_name: str,
) -> dict[str, str]:
    """Return all that names a score, as text: two scores compare only where these agree."""
    temperatures = {settings.temperature or benchmark.temperature(p, settings.preset) for p in problems}
    shown = "/".join(f"{temperature:g}" for temperature in sorted(temperatures))
    decoding = f"n={settings.n} T={shown} top_p={settings.top_p:g} seed={settings.seed}"
    in_all, n_problems = len(benchmark.problems), len(problems)
    return {
        "model": model,
        "measure": judge.measure,
        "judge": judge_name,
        **({"against": judge.against} if judge.against else {}),
        "judge_prompts": "MT-Bench" + (f", {judge.shots} worked examples" if judge.shots else ""),
        "judge_max_tokens": str(judge.max_tokens),
        "style": settings.style,
        "decoding": "greedy" if temperatures == {0.0} else decoding,
        "preset": settings.preset,
        "max_tokens": str(settings.max_tokens),
        "problems": f"{n_problems} of {in_all}" + (", evenly spaced" if n_problems < in_all else ""),
    }


def _write(out: Path, judged: Judged, result: JudgedResult, named: Mapping[str, str]) -> None:
    samples = (
        {
            "task_id": dialogue.problem.task_id,
            "index": dialogue.index,
            "completion": dialogue.answers[-1] if dialogue.answers else None,
            "answers": list(dialogue.answers),
            "finish_reason": dialogue.finish_reason,
            **({"absent": dialogue.absent} if dialogue.absent else {}),
        }
        for dialogue in judged.answers
    )
    verdicts = (
        {
            "task_id": turn.task_id,
            "index": turn.index,
            "turn": turn.turn,
            "passed": turn.said == "win",
            "reason": turn.label,
            "worth": turn.worth,
            "choices": list(turn.choices),
            "longer_by": turn.longer_by,
            "detail": turn.replies[0] if turn.replies else "",
            "replies": list(turn.replies),
        }
        for turn in judged.turns
    )
    scores = {
        "scores": [asdict(score) for score in result.scores],
        "problems": result.passed,
        "reasons": result.reasons,
        "wins": result.wins,
        "positions": asdict(result.positions),
    }
    tokens = sum(dialogue.completion_tokens for dialogue in judged.answers)
    write_evaluation(out, samples, verdicts, scores, named, tokens, result.seconds)
