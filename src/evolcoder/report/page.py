"""The HTML report of a run: one file, no script, no request to another host.

Reads the run folder, computes what each section shows, and fills one template. Text of models is data: it is
escaped by the template, never marked as safe, and the page's own policy forbids scripts and requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolcoder import __version__
from evolcoder.errors import DataError
from evolcoder.progress import duration
from evolcoder.report.charts import Line, both_widths, interval_bar, line_chart, nice_ticks, share, thin
from evolcoder.report.data_section import VERDICT_COLORS, bar_table, data_section
from evolcoder.report.lineage import dropped_examples, families
from evolcoder.report.reinforce_section import answers_over_time, figures, learnings
from evolcoder.report.rows import RoundRows, scan_rows
from evolcoder.report.run_folder import Round, Run, read_run, rounds_of_result
from evolcoder.report.scores import BenchmarkScores, benchmark_scores, score_figure
from evolcoder.report.table import round_name
from evolcoder.report.templating import flat_settings, template
from evolcoder.runs import write_text_whole

REPORT_NAME = "report.html"
_TRAINING_FACTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "base": ("base model", str),
    "rows": ("rows", "{:,}".format),
    "tokens": ("tokens", "{:,}".format),
    "supervised_tokens": ("tokens with a loss", "{:,}".format),
    "padding_share": ("padding", "{:.1%}".format),
    "tokens_per_second": ("tokens a second", "{:,.0f}".format),
    "seconds": ("time of the steps", lambda seconds: duration(seconds)),
    "peak_memory_bytes": ("most memory", lambda size: f"{size / 2**30:.1f} GiB"),
    "resumed_from_step": ("resumed from step", "{:,}".format),
}
"""Key in `training.json` -> how a reader meets it."""


def write_report(run: Path) -> Path:
    """Write `report.html`, of what there is, into the run folder, whole, and return its path.

    Raises DataError where the folder holds no run, a broken file, or a `report.html` of somebody else's.
    """
    target, html = run / REPORT_NAME, report_html(read_run(run))
    if not run.is_dir():
        raise DataError(f"{run}: is not there before its learning ends; `evolcoder app {run}` shows it")
    if target.exists() and _TITLE not in target.read_bytes():
        raise DataError(f"{target}: stands there, and is no report of evolcoder; nothing was changed")
    write_text_whole(target, html)
    return target


_TITLE = b"evolcoder report</title>"


def report_html(run: Run) -> str:
    """Return the report of a run as HTML."""
    rounds = rounds_of_result(run)
    index, rows = scan_rows(run, rounds)
    benchmarks = benchmark_scores(run, rounds)
    longest = max((stage.seconds for stage in run.stages), default=0.0)
    return template("report.html.j2").render(
        run=run,
        version=__version__,
        finished=bool(run.result),
        notice=run.notice,
        stop=_stop(run),
        headline=_headline(run, benchmarks),
        models=_models(run),
        benchmarks=[
            (view, score_figure(view), bar_table(view.reasons, VERDICT_COLORS)) for view in benchmarks
        ],
        rounds=_round_table(run, rounds, rows, benchmarks),
        data=data_section(rounds, rows),
        seeds_screened=_seeds_sentence(run),
        families=families(index, max((round_.number for round_ in rounds), default=0)),
        dropped=dropped_examples(rounds),
        training=_training_figure(rounds),
        training_facts=_training_facts(rounds),
        learnings=[(learning, figures(learning), answers_over_time(learning)) for learning in learnings(run)],
        costs=_costs(rounds),
        stages=[(stage.name, stage.seconds, share(stage.seconds, longest)) for stage in run.stages],
        stages_total=sum(stage.seconds for stage in run.stages),
        settings=flat_settings(run.recipe),
        command=run.result.get("command") or f"evolcoder run {run.folder / 'recipe.yaml'} --dir NEW-FOLDER",
    )


def _headline(run: Run, benchmarks: Sequence[BenchmarkScores]) -> dict[str, Any] | None:
    """What the report opens with: base against best on the benchmark that decides."""
    if not benchmarks:
        return None
    view = benchmarks[0]
    base, best = view.base, view.best_point
    # Where the base model stayed best, the best of the rounds stands beside it.
    trained = max((p for p in view.points if p.round), key=lambda p: p.value, default=best)
    shown = [point for point in (base, trained if best.round == 0 else best) if point is not None]
    whole = nice_ticks(0.0, max(point.high for point in shown))[-1]
    return {
        "view": view,
        "base": base,
        "best": best,
        "gain": None if base is None or best.round == 0 else 100 * (best.value - base.value),
        "bars": [(p, interval_bar(p, whole, "best" if p is best else "muted")) for p in dict.fromkeys(shown)],
        "whole": whole,
    }


def _models(run: Run) -> list[tuple[str, str]]:
    """Return the models of the run, by what they are for."""
    named = [("base model", run.recipe.get("base")), ("teacher", run.recipe.get("teacher"))]
    return [(use, str(m["model"])) for use, m in named if isinstance(m, Mapping) and m.get("model")]


def _stop(run: Run) -> dict[str, Any]:
    """Why the run ended and what it keeps, in words; "" for what is not known yet."""
    stop = run.result.get("stop") or {}
    kept = run.result.get("best_round")
    return {
        "rule": str(stop.get("rule") or "").replace("_", " "),
        "reason": str(stop.get("reason") or ""),
        "kept": round_name(kept) if kept else "the base model",
        "decisions": run.result.get("decisions") or [],
    }


def _seeds_sentence(run: Run) -> str:
    """What became of the seeds when copies of benchmark problems were looked for; "" where none were."""
    found = run.seeds_summary
    against = [str(name) for name in found.get("screened_against") or []]
    if not against:
        return ""
    gone = int((found.get("eliminated") or {}).get("contaminated") or 0)
    told = f"{gone:,} of them left out" if gone else "none found"
    return (
        f"Copies of problems of {', '.join(against)} were looked for in every evolved row, and in the "
        f"{int(found.get('asked') or 0):,} seeds: {told}."
    )


def _round_table(
    run: Run, rounds: Sequence[Round], scanned: Sequence[RoundRows], benchmarks: Sequence[BenchmarkScores]
) -> list[dict[str, Any]]:
    """One mapping a round for the table: data sizes, training, scores."""
    trained_on = {entry.get("round"): entry.get("rows") for entry in run.result.get("rounds") or []}
    made = {rows.round: rows for rows in scanned}
    table = []
    for round_ in rounds:
        rows, training = made.get(round_.number), round_.training
        table.append(
            {
                "number": round_.number,
                "asked": round_.summary.get("asked"),
                "kept": round_.summary.get("kept", rows.count if rows and round_.number else None),
                # What the training itself says counts for a run under way.
                "trained_on": trained_on.get(round_.number) or (training and training.facts.get("rows")),
                "characters": rows.instruction.mean if rows and rows.instruction else None,
                "loss": training.losses[-1][1] if training and training.losses else None,
                "usd": round_.summary.get("usd"),
                "scores": [
                    next((p for p in view.points if p.round == round_.number), None) for view in benchmarks
                ],
                "best": bool(benchmarks) and benchmarks[0].best == round_.number,
            }
        )
    return table


def _training_figure(rounds: Sequence[Round]) -> Any:
    """The loss curves, or None where nothing was trained."""
    lines = [
        Line(round_name(round_.number), thin(round_.training.losses), round_.number % 10)
        for round_ in rounds
        if round_.training and round_.training.losses
    ]
    if not lines:
        return None
    lines += [
        Line(f"{round_name(round_.number)}, held out", round_.training.held_out, round_.number % 10, True)
        for round_ in rounds
        if round_.training and round_.training.held_out
    ]
    chart = both_widths(lambda width: line_chart(lines, "optimizer step", "loss", width))
    return {"chart": chart, "lines": lines, "held_out": any(line.dashed for line in lines)}


def _training_facts(rounds: Sequence[Round]) -> list[tuple[str, list[str]]]:
    """Facts of every training as rows of a table: name, then one cell a trained round."""
    trained = [(round_.number, round_.training) for round_ in rounds if round_.training]
    if not trained:
        return []
    table = [("", [round_name(number) for number, _ in trained])]
    table.append(("steps", [f"{len(training.losses):,}" for _, training in trained]))
    for key, (name, show) in _TRAINING_FACTS.items():
        if any(key in training.facts for _, training in trained):
            values = [training.facts.get(key) for _, training in trained]
            table.append((name, ["–" if value is None else show(value) for value in values]))
    return table


def _costs(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """What the teacher was asked in each round that says so."""
    return [
        {
            "round": round_.number,
            "requests": round_.summary.get("requests"),
            "prompt": (round_.summary.get("tokens") or {}).get("prompt"),
            "completion": (round_.summary.get("tokens") or {}).get("completion"),
            "usd": round_.summary.get("usd"),
        }
        for round_ in rounds
        if round_.summary.get("tokens")
    ]
