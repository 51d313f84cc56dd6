"""Runs side by side: scores by round, best rounds problem by problem, data, settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evolcoder import __version__
from evolcoder.errors import UserError
from evolcoder.evaluate.comparison import Comparison, compare
from evolcoder.output_files import begins_with, output_file
from evolcoder.report.charts import Cell, ScoreLine, both_widths, problem_strip, scores_chart
from evolcoder.report.run_folder import Evaluation, Run, read_run, rounds_of_result
from evolcoder.report.scores import BenchmarkScores, benchmark_scores, measured_unlike
from evolcoder.report.templating import flat_settings, template
from evolcoder.runs import write_text_whole


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the runs, with the colour it has on every chart."""

    label: str
    css: str
    run: Run
    benchmarks: Mapping[str, BenchmarkScores]
    """By folder name."""


def write_comparison(folders: Sequence[Path], out: Path, overwrite: bool = False) -> Path:
    """Write the comparison of two or more runs as one HTML file and return its path.

    Raises UserError where they share no benchmark, DataError for no run or somebody's file at `out`.
    """
    with output_file(out, begins_with(b"<!doctype html>"), overwrite=overwrite):
        write_text_whole(out, _comparison_html(folders))
    return out


def _comparison_html(folders: Sequence[Path]) -> str:
    runs = _labelled([read_run(folder) for folder in folders])
    first, *others = runs
    shared = [folder for folder in first.benchmarks if all(folder in run.benchmarks for run in others)]
    if not shared:
        measured = "; ".join(f"{run.label}: {', '.join(run.benchmarks) or 'none'}" for run in runs)
        raise UserError(f"the runs share no benchmark that both were measured on ({measured})")
    return template("comparison.html.j2").render(
        version=__version__,
        runs=runs,
        benchmarks=[_shared_benchmark(runs, folder) for folder in shared],
        data=[(run, _data_facts(run)) for run in runs],
        differences=_setting_differences(runs),
    )


def _labelled(runs: Sequence[Run]) -> list[ComparedRun]:
    """Name each run by its recipe, and by its folder as well where names are not enough."""
    names = [run.name for run in runs]
    labelled = []
    for number, run in enumerate(runs):
        label = run.name if names.count(run.name) == 1 else f"{run.name} ({run.folder})"
        scores = {view.folder: view for view in benchmark_scores(run, rounds_of_result(run))}
        labelled.append(ComparedRun(label, f"c{number % 10}", run, scores))
    return labelled


def _shared_benchmark(runs: Sequence[ComparedRun], folder: str) -> dict[str, Any]:
    """What is told of a benchmark that every run has a score on."""
    lines = [ScoreLine(run.label, run.benchmarks[folder].points, run.css) for run in runs]
    first, *others = runs
    return {
        "name": first.benchmarks[folder].name,
        "chart": both_widths(lambda width: scores_chart(lines, width)),
        "views": [(run, run.benchmarks[folder]) for run in runs],
        "against": [_against(first, other, folder) for other in others],
    }


def _against(first: ComparedRun, other: ComparedRun, folder: str) -> dict[str, Any]:
    """The best round of one run against the best round of the first run, on one benchmark."""
    of_first, of_other = _best_evaluation(first, folder), _best_evaluation(other, folder)
    a, b = of_first.problems, of_other.problems
    old, new = first.benchmarks[folder].settings, other.benchmarks[folder].settings
    comparison = compare(a, b, of_other.families)
    strips = _strips(comparison, a, b, (first.label, other.label))
    unlike = measured_unlike(old, new)
    return {"label": other.label, "comparison": comparison, "strips": strips, "unlike": unlike}


def _best_evaluation(run: ComparedRun, folder: str) -> Evaluation:
    best = run.benchmarks[folder].best
    round_ = next(round_ for round_ in run.run.rounds if round_.number == best)
    return round_.evaluations[folder]


def _strips(
    comparison: Comparison,
    a: Mapping[str, Sequence[bool]],
    b: Mapping[str, Sequence[bool]],
    labels: tuple[str, str],
) -> list[Markup]:
    """Draw every problem that both runs have: the first run's cell over the other's."""
    tasks = [task for task in a if task in b]
    better = dict.fromkeys(comparison.only_b, "gain") | dict.fromkeys(comparison.only_a, "loss")
    strips = []
    for task in tasks:
        above, below = ("pass" if any(verdicts[task]) else "fail" for verdicts in (a, b))
        words = f"{labels[0]} {above}, {labels[1]} {below}"
        cells = [Cell(above), Cell(better.get(task, below))]
        strips.append(problem_strip(cells, f"{task}: {words}", 11 if len(tasks) <= 500 else 7))
    return strips


def _data_facts(run: ComparedRun) -> dict[str, Any]:
    """What the run took: rounds, rows evolved and kept, rows the best model was trained on, time, money."""
    rounds = [round_ for round_ in rounds_of_result(run.run) if round_.number > 0]
    best = run.run.result.get("best_round")
    trained_on = {entry["round"]: entry.get("rows") for entry in run.run.result.get("rounds") or []}
    return {
        "rounds": len(rounds),
        "asked": sum(int(round_.summary.get("asked") or 0) for round_ in rounds),
        "kept": sum(int(round_.summary.get("kept") or 0) for round_ in rounds),
        "trained_on": trained_on.get(best),
        "seconds": sum(stage.seconds for stage in run.run.stages),
        "usd": sum(float(round_.summary.get("usd") or 0) for round_ in rounds),
    }


def _setting_differences(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    """Return the settings that are not the same in all runs: dotted key, one value a run."""
    flat = [dict(flat_settings(run.run.recipe)) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows = [(key, [settings.get(key, "") for settings in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
