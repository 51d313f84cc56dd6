"""The scores of the rounds: points with intervals, what each round gained and lost, and a sentence on it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evolcoder.evaluate.benchmarks import named_set
from evolcoder.evaluate.comparison import Comparison, compare
from evolcoder.evaluate.overlap import evaluation_folder
from evolcoder.report.charts import Cell, ScorePoint, both_widths, problem_strip, score_chart
from evolcoder.report.run_folder import Evaluation, Round, Run
from evolcoder.report.table import round_name


@dataclass(frozen=True, slots=True)
class Change:
    """What one round gained and lost against the round before it."""

    before: str
    after: str
    compared: Comparison
    """The round before as A; of B alone is what was gained."""


@dataclass(frozen=True, slots=True)
class BenchmarkScores:
    """One benchmark through all rounds."""

    folder: str
    """Name of its folder under evaluation/."""
    name: str
    decides: bool
    """Whether this is the benchmark that the stopping rule watches."""
    points: tuple[ScorePoint, ...]
    best: int
    """The round the run kept, on every benchmark alike: a test is never what picks it. In an unfinished run
    the best so far on the benchmark that decides; its own best only where that was not measured on it."""
    n_problems: int
    n_samples: int
    settings: Mapping[str, str]
    subset: str
    """A sentence on the part of the benchmark used; "" where it is whole or its size is not known."""
    others: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Further scores (other k, other suites of tests): name, and a value for each of `points`."""
    changes: tuple[Change, ...]
    """Each round against the one before it."""
    base_to_best: Change | None
    """The best round against the base model; None where one of them has no problems or both are one."""
    strips: tuple[Markup, ...]
    reasons: Mapping[str, Mapping[str, int]]
    """Verdict reasons of each round, by the round's name."""

    @property
    def measure(self) -> str:
        """What its scores are: pass@1, or what a judge's verdicts come to."""
        return self.settings.get("measure", "pass@1")

    @property
    def base(self) -> ScorePoint | None:
        """The base model's score, if it was measured."""
        return next((point for point in self.points if point.round == 0), None)

    @property
    def best_point(self) -> ScorePoint:
        """The score of the best round."""
        return next(point for point in self.points if point.round == self.best)


def benchmark_scores(run: Run, rounds: Sequence[Round]) -> list[BenchmarkScores]:
    """Return every benchmark with a score, the one that decides first."""
    deciding = deciding_folder(run)
    folders = dict.fromkeys(folder for round_ in rounds for folder in round_.evaluations)
    kept, views = run.result.get("best_round"), []
    for folder in sorted(folders, key=lambda folder: folder != deciding):
        if view := _one_benchmark(rounds, folder, folder == deciding, kept):
            views.append(view)
            kept = view.best if view.decides else kept
    return views


def score_figure(view: BenchmarkScores) -> Markup:
    """Draw a benchmark's scores by round."""
    return both_widths(lambda width: score_chart(view.points, view.best, width, view.measure))


def measured_unlike(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Return how two scores were not measured alike by their settings, e.g. "style: chat, wizardcoder"."""
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return tuple(f"{key}: {old.get(key, 'not said')}, {new.get(key, 'not said')}" for key in keys)


def deciding_folder(run: Run) -> str:
    """Return the evaluation folder's name of the benchmark that the stopping rule watches; "" if unknown."""
    stop = run.recipe.get("stop")
    named = run.result.get("benchmark") or (stop.get("benchmark") if isinstance(stop, Mapping) else "")
    return evaluation_folder(str(named or ""))


def _one_benchmark(
    rounds: Sequence[Round], folder: str, decides: bool, kept: int | None
) -> BenchmarkScores | None:
    measured = [(r.number, r.evaluations[folder]) for r in rounds if folder in r.evaluations]
    points = tuple(point for number, evaluation in measured if (point := _point(number, evaluation)))
    if not points:
        return None
    first = next(evaluation for _, evaluation in measured if evaluation.pass_at_1)
    score = first.pass_at_1 or {}
    known = [point.round for point in points]
    best = kept if kept in known else max(points, key=lambda p: p.value).round
    n_problems = int(score.get("n_problems") or len(first.problems))
    settings = {str(key): str(value) for key, value in (score.get("settings") or {}).items()}
    of_round = dict(measured)
    lifted = best if best and of_round[best].problems and 0 in of_round and of_round[0].problems else None
    return BenchmarkScores(
        folder=folder,
        name=first.benchmark,
        decides=decides,
        points=points,
        best=best,
        n_problems=n_problems,
        n_samples=int(score.get("n_samples") or n_problems),
        settings={key: value for key, value in settings.items() if key not in ("model", "problems")},
        subset=_subset_sentence(folder, n_problems, settings.get("problems", "")),
        others=_other_scores([e for _, e in measured if e.pass_at_1]),
        changes=tuple(_change(of_round, *pair) for pair in itertools.pairwise(of_round)),
        base_to_best=_change(of_round, 0, lifted) if lifted else None,
        strips=_strips({number: _pass_shares(evaluation) for number, evaluation in measured}),
        reasons={round_name(number): dict(evaluation.reasons) for number, evaluation in measured},
    )


def _point(number: int, evaluation: Evaluation) -> ScorePoint | None:
    score = evaluation.pass_at_1
    if score is None:
        return None
    value = float(score["value"])
    low, high = float(score.get("low", value)), float(score.get("high", value))
    return ScorePoint(number, round_name(number), value, low, high)


def _pass_shares(evaluation: Evaluation) -> dict[str, float]:
    """Return the share of each problem's samples that passed; the mean of what a judge gave each."""
    return {task: sum(v) / len(v) for task, v in evaluation.problems.items() if v}


def _other_scores(evaluations: Sequence[Evaluation]) -> tuple[tuple[str, tuple[float | None, ...]], ...]:
    by_name = [{_score_name(score): float(score["value"]) for score in e.scores} for e in evaluations]
    names = list(dict.fromkeys(name for scores in by_name for name in scores))[1:]
    return tuple((name, tuple(scores.get(name) for scores in by_name)) for name in names)


def _score_name(score: Mapping[str, Any]) -> str:
    judged = (score.get("settings") or {}).get("measure")
    return str(score["benchmark"]) if judged else f"{score['benchmark']} pass@{score['k']}"


def _change(of_round: Mapping[int, Evaluation], before: int, after: int) -> Change:
    found = compare(of_round[before].problems, of_round[after].problems, of_round[after].families)
    return Change(round_name(before), round_name(after), found)


def _strips(passed: Mapping[int, Mapping[str, float]]) -> tuple[Markup, ...]:
    """Draw every problem: kept, gained or lost in each round."""
    tasks = dict.fromkeys(task for shares in passed.values() for task in shares)
    size = 16 if len(tasks) <= 80 else 11 if len(tasks) <= 500 else 7
    strips = []
    for task in tasks:
        cells, words, before = [], [], None
        for number, shares in passed.items():
            now = shares.get(task)
            css, word = _cell(before, now)
            cells.append(Cell(css, 1.0 if css != "pass" and css != "gain" else max(0.3, now or 0.0)))
            words.append(f"{round_name(number)} {word}")
            before = now
        strips.append(problem_strip(cells, f"{task}: {', '.join(words)}", size))
    return tuple(strips)


def _cell(before: float | None, now: float | None) -> tuple[str, str]:
    """Return the colour and the word for one problem in one round, given the round before."""
    if now is None:
        return "absent", "not measured"
    if before is not None and now > before:
        return "gain", "gained"
    if before is not None and now < before:
        return "loss", "lost"
    return ("pass", "passed") if now > 0 else ("fail", "failed")


def _subset_sentence(folder: str, n_problems: int, named: str) -> str:
    """`named` is what the score itself says, e.g. "40 of 164, evenly spaced"."""
    match = re.match(r"\d+ of (\d+)(.*)", named)
    whole = int(match[1]) if match else named_set(folder).size
    if n_problems >= whole:
        return ""
    return (
        f"A subset: {n_problems} of the {whole} problems{match[2] if match else ''}. This score cannot be "
        "compared with published scores, which use all of them."
    )
