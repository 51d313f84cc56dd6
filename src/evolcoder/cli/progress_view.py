"""Shows progress: live bars on a terminal, plain lines elsewhere, always on standard error.

A run with stages (`evolcoder run`) gets one live view of all of them, with the bars of the one under way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from evolcoder.cli.terminal import drawn_on, guard_streams, shown
from evolcoder.progress import Bar, Progress, StageLine, StageState, duration, left_text, seconds_left

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_LINE_EVERY_S = 10.0
_SIGNS = {"waiting": "·", "running": "▶", "done": "✓", "kept": "✓", "skipped": "–"}
_WHOLE_LINE = 96
"""Characters of a line with name, bar, count and both times."""
_COUNT_AND_TIME = 28
"""Characters of a line after the name where there is no bar: 12345/678901 0:12:34 left, and spaces."""


def progress_view() -> Progress:
    """Return live bars where standard error is a terminal, plain lines where it is not."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


def facts_text(facts: dict[str, str | float]) -> str:
    """Return "loss 1.23, usd 0.01" of a bar's facts."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )


def stage_text(line: StageLine, elapsed: float) -> str:
    """Return one stage as a line; `elapsed` seconds have gone since it began, where it is running."""
    return f"{_SIGNS[line.state]} {line.title:<38} {_time_text(line, elapsed)}".rstrip()


def shown_window(lines: Sequence[StageLine], most: int) -> tuple[Sequence[StageLine], int, int]:
    """Return at most `most` lines around the one that runs, and how many were left out before and after."""
    if len(lines) <= most:
        return lines, 0, 0
    at = next((i for i, line in enumerate(lines) if line.state in ("running", "waiting")), len(lines) - 1)
    start = max(0, min(at - most // 3, len(lines) - most))
    return lines[start : start + most], start, len(lines) - start - most


def _time_text(line: StageLine, elapsed: float) -> str:
    if line.state == "running":
        of = f" of about {duration(line.seconds)}" if line.seconds else ""
        return f"{duration(elapsed)}{of}"
    if line.state == "kept":
        return "done before"
    if line.state == "skipped":
        return "skipped"
    if line.seconds is None:
        return ""
    return duration(line.seconds) if line.state == "done" else f"about {duration(line.seconds)}"


class _PlainBar:
    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.done = name, total, 0
        self.facts: dict[str, str | float] = {}
        self.begun = self.said = time.monotonic()

    def advance(self, n: int = 1, **facts: str | float) -> None:
        self.done += n
        self.facts.update(facts)
        if time.monotonic() - self.said >= _LINE_EVERY_S:
            self.said = time.monotonic()
            self.say()

    def say(self) -> None:
        of_total = f"/{self.total}" if self.total is not None else ""
        facts = f", {facts_text(self.facts)}" if self.facts else ""
        elapsed = time.monotonic() - self.begun
        ahead = seconds_left(self.done, self.total, elapsed)
        left = "" if ahead is None else f" (about {duration(ahead)} left)"
        _say(f"{self.name}: {self.done}{of_total}, {elapsed:.0f} s{left}{facts}")


class PlainProgress:
    """A line when a piece of work begins to take long, every ten seconds, and when it ends."""

    def __init__(self) -> None:
        self._states: dict[str, StageState] = {}

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        """Open a bar that is told in lines."""
        bar = _PlainBar(name, total)
        yield bar
        bar.say()

    def note(self, line: str) -> None:
        """Print one line."""
        _say(line)

    def stages(self, lines: Sequence[StageLine]) -> None:
        """Print a line for each stage that began or ended."""
        for number, line in enumerate(lines, 1):
            if line.state == self._states.get(line.title, "waiting"):
                continue
            self._states[line.title] = line.state
            place = f"[{number}/{len(lines)}] {line.title}"
            if line.state == "running":
                about = f" (about {duration(line.seconds)})" if line.seconds else ""
                _say(f"{place}{about}; {left_text(lines, 0.0)}")
            elif line.state == "done":
                _say(f"{place}: done in {duration(line.seconds or 0.0)}")
            else:
                _say(f"{place}: {'done before' if line.state == 'kept' else 'skipped'}")


def _say(line: str) -> None:
    sys.stderr.write(shown(line) + "\n")
    sys.stderr.flush()


class LiveProgress:
    """Rich bars with count, time spent and time left; several may be open at once."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(file=drawn_on(sys.stderr))
        self._rich = _bars_with_facts(self._console)
        self._open = 0
        self._live: Live | None = None
        self._lines: Sequence[StageLine] = ()
        self._running: tuple[str, float] = ("", 0.0)
        """Title of the stage under way, and when it was first seen so."""

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        """Open a live bar; it stays on the screen, finished, when the block ends (not among stages)."""
        if self._open == 0 and self._live is None:
            self._rich.start()
            guard_streams()  # what others print meanwhile goes above the bars
        self._open += 1
        task = self._rich.add_task(shown(name), total=total, facts="")
        try:
            yield _LiveBar(self._rich, task)
        finally:
            self._open -= 1
            if self._open == 0:
                if self._live is None:
                    self._rich.stop()
                for finished in list(self._rich.task_ids):
                    self._rich.remove_task(finished)

    def stages(self, lines: Sequence[StageLine]) -> None:
        """Show all stages in one view, which stays until this is called with none."""
        from rich.live import Live

        if not lines:
            if self._live is not None:
                self._live.stop()
                self._live = None
            return
        self._lines = lines
        running = next((line.title for line in lines if line.state == "running"), "")
        if running != self._running[0]:
            self._running = (running, time.monotonic())
        if self._live is None:
            self._live = Live(get_renderable=self._view, console=self._console, refresh_per_second=4)
            self._live.start()
            guard_streams()

    def _view(self) -> RenderableType:
        """What stands on the screen now: the stages, the bars under the one that runs, the time left."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text

        elapsed = time.monotonic() - self._running[1]
        window, before, after = shown_window(self._lines, max(4, self._console.height - 6 - self._open))
        parts: list[RenderableType] = [Text(f"  {before} stages before", style="dim")] if before else []
        for line in window:
            style = {"running": "bold", "waiting": "dim", "kept": "dim"}.get(line.state, "")
            parts.append(Text(shown(stage_text(line, elapsed)), style=style))
            if line.state == "running" and self._open:
                parts.append(Padding(self._rich.get_renderable(), (0, 0, 0, 4)))
        if after:
            parts.append(Text(f"  {after} more stages", style="dim"))
        return Group(*parts, Text(left_text(self._lines, elapsed), style="cyan"))

    def note(self, line: str) -> None:
        """Print one line above the bars."""
        self._console.print(shown(line), markup=False, highlight=False)


def _bars_with_facts(console: Console) -> RichProgress:
    """Return bars that have their facts on lines of their own, where no terminal is too narrow for them.

    On a narrow terminal the bar is left out, not the count.
    """
    from rich import progress as rich
    from rich.padding import Padding
    from rich.table import Column
    from rich.text import Text

    class Bars(rich.Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            for task in self.tasks:
                yield self.make_tasks_table([task])
                if task.visible and task.fields["facts"]:
                    yield Padding(Text(task.fields["facts"], style="dim"), (0, 0, 0, 2))

    whole = Column(no_wrap=True)
    if console.width < _WHOLE_LINE:
        name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width - _COUNT_AND_TIME))
        return Bars(
            rich.TextColumn("{task.description}", markup=False, table_column=name),
            rich.MofNCompleteColumn(table_column=whole),
            rich.TimeRemainingColumn(compact=True, table_column=whole),
            rich.TextColumn("left", table_column=whole),
            console=console,
        )
    title = rich.TextColumn("{task.description:<28}", markup=False)
    done = (rich.BarColumn(bar_width=30), rich.MofNCompleteColumn(), rich.TimeElapsedColumn())
    left = (rich.TextColumn("left"), rich.TimeRemainingColumn(compact=True))
    return Bars(title, *done, *left, console=console)


class _LiveBar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars, self._task = bars, task
        self._facts: dict[str, str | float] = {}

    def advance(self, n: int = 1, **facts: str | float) -> None:
        self._facts.update(facts)
        self._bars.update(self._task, advance=n, facts=shown(facts_text(self._facts)))
