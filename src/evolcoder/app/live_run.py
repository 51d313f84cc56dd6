"""The state of a run at this moment: the stage under way, all stages, the scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from evolcoder.app.widgets import code, empty, notice, shown, table, tag
from evolcoder.errors import DataError
from evolcoder.progress import StageLine, duration, left_text, seconds_left
from evolcoder.report.run_folder import Run, read_run, rounds_of_result
from evolcoder.report.scores import BenchmarkScores, benchmark_scores, score_figure
from evolcoder.report.table import percent, round_name
from evolcoder.run_progress import BarState, RunProgress, read_progress


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What is known of a run at one moment."""

    run: Run
    progress: RunProgress | None
    scores: tuple[BenchmarkScores, ...]
    stages: tuple[StageLine, ...]

    @property
    def state(self) -> str:
        """ "finished", "running", or "stopped"."""
        if self.progress is not None and self.progress.running:
            return "running"
        return "finished" if self.run.result else "stopped"


Scores = Callable[[Run], tuple[BenchmarkScores, ...]]


def scores_now(run: Run) -> tuple[BenchmarkScores, ...]:
    """Return the scores of a run with their intervals; its bootstraps take a while on large benchmarks."""
    return tuple(benchmark_scores(run, rounds_of_result(run)))


def live_run(folder: Path, scores_of: Scores = scores_now) -> LiveRun:
    """Read a run as it stands; raises DataError where the folder holds none, or a broken file."""
    run = read_run(folder)
    progress = read_progress(folder)
    scores = scores_of(run)
    stages = progress.stages if progress is not None and progress.stages else ()
    if not stages:
        stages = tuple(StageLine(stage.name, "done", stage.seconds) for stage in run.stages)
    return LiveRun(run, progress, scores, stages)


def live_html(folder: Path, scores_of: Scores = scores_now) -> Markup:
    """Return the live view of a run; a folder that cannot be read says why."""
    try:
        live = live_run(folder, scores_of)
    except DataError as error:
        return notice(error, "bad")
    head, beside = [_head(live)], []
    if live.progress is not None and live.progress.running:
        head += [_bar(bar) for bar in live.progress.bars]
    if live.stages:
        beside.append(Markup("<h3>Stages</h3>") + _stages(live.stages))
    if live.progress is not None and live.progress.notes:
        beside.append(Markup("<h3>Latest notes</h3>") + code("\n".join(live.progress.notes)))
    return Markup('{}<div class="columns"><div>{}</div><div>{}</div></div>').format(
        Markup("").join(head), _scores(live.scores), Markup("").join(beside)
    )


def _head(live: LiveRun) -> Markup:
    kind = {"running": "good", "finished": "plain", "stopped": "warn"}[live.state]
    title = Markup('<h2>{} <span class="state-now">{}</span></h2>')
    lines = [title.format(shown(live.run.name, 200), tag(live.state, kind))]
    if live.run.result:
        stop = live.run.result.get("stop") or {}
        best = live.run.result.get("best_round")
        kept = "the base model" if not best else round_name(int(best))
        lines.append(Markup("<p>Kept: <b>{}</b>. {}</p>").format(kept, shown(stop.get("reason") or "", 500)))
    if live.run.notice:
        lines.append(notice(live.run.notice))
    if live.state == "running" and live.progress is not None:
        ago = max(0.0, time.time() - live.progress.written)
        told = f"last sign of life {duration(ago)} ago"
        if live.progress.stages:
            elapsed = max((bar.seconds for bar in live.progress.bars), default=0.0)
            told = f"{left_text(live.progress.stages, elapsed)}; {told}"
        lines.append(Markup('<p class="soft">{}</p>').format(shown(told, 300)))
    if live.state == "stopped":
        told = "Not finished, and nobody works on it on this machine; the same {} command continues it."
        command = Markup("<code>evolcoder run</code>")
        lines.append(Markup('<p class="soft">{}</p>').format(Markup(told).format(command)))
    return Markup("").join(lines)


def _bar(bar: BarState) -> Markup:
    told = ((name, f"{v:.4g}" if isinstance(v, float) else str(v)) for name, v in bar.facts.items())
    facts = ", ".join(map(" ".join, told))
    share = min(1.0, bar.done / bar.total) if bar.total else None
    ahead = seconds_left(bar.done, bar.total, bar.seconds) if bar.seconds > 5 else None
    left = "" if ahead is None else f", about {duration(ahead)} left"
    return Markup(
        '<div class="bar-line"><div class="bar-head"><b>{}</b><span>{}{}</span></div>'
        '<progress aria-label="{}"{}></progress>'
        '<p class="soft small">{}{}</p></div>'
    ).format(
        shown(bar.name, 120),
        f"{bar.done:,}",
        f" of {bar.total:,}" if bar.total is not None else "",
        bar.name[:120],
        Markup(' max="100" value="{:.1f}"').format(100 * share) if share is not None else "",
        shown(f"{duration(bar.seconds)}{left}", 100),
        shown(f" · {facts}" if facts else "", 300),
    )


def _scores(scores: Sequence[BenchmarkScores]) -> Markup:
    if not scores:
        return empty("No scores yet: the base model is measured first.")
    parts = []
    for view in scores:
        rows = [
            (
                Markup("<b>{}</b>").format(point.label) if point.round == view.best else point.label,
                percent(point.value),
                f"{percent(point.low)} – {percent(point.high)}",
            )
            for point in view.points
        ]
        deciding = tag("decides", "plain") if view.decides else Markup("")
        head = Markup("<h3>{} {}</h3>").format(shown(view.name, 100), deciding)
        several = len(view.points) > 1
        figure = Markup("<figure>{}</figure>").format(score_figure(view)) if several else Markup("")
        subset = Markup('<p class="soft small">{}</p>').format(shown(view.subset, 300))
        parts.append(head + figure + table(("model", f"{view.measure}, %", "95% interval"), rows) + subset)
    return Markup("").join(parts)


_STATES = {"done": "good", "kept": "good", "running": "new", "waiting": "plain", "skipped": "plain"}


def _stages(stages: Sequence[StageLine]) -> Markup:
    rows = []
    for stage in stages:
        about = "about " if stage.state == "waiting" else ""
        time_ = "" if stage.seconds is None else about + duration(stage.seconds)
        rows.append((shown(stage.title, 120), tag(stage.state, _STATES.get(stage.state, "plain")), time_))
    return table(("stage", "", "time"), rows)
