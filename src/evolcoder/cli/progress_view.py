"""Shows progress: live bars on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from evolcoder.progress import Bar, Progress

_LINE_EVERY_S = 10.0


def progress_view() -> Progress:
    """Return live bars where standard error is a terminal, plain lines where it is not."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


def facts_text(facts: dict[str, str | float]) -> str:
    """Return "loss 1.23, usd 0.01" of a bar's facts."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )


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
        _say(f"{self.name}: {self.done}{of_total}, {time.monotonic() - self.begun:.0f} s{facts}")


class PlainProgress:
    """A line when a piece of work begins to take long, every ten seconds, and when it ends."""

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        """Open a bar that is told in lines."""
        bar = _PlainBar(name, total)
        yield bar
        bar.say()

    def note(self, line: str) -> None:
        """Print one line."""
        _say(line)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class LiveProgress:
    """Rich bars with count, time spent and time left; several may be open at once."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[facts]}"),
            console=Console(stderr=True),
        )
        self._open = 0

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        """Open a live bar; it stays on the screen, finished, when the block ends."""
        if self._open == 0:
            self._rich.start()
        self._open += 1
        task = self._rich.add_task(name, total=total, facts="")
        try:
            yield _LiveBar(self, task)
        finally:
            self._open -= 1
            if self._open == 0:
                self._rich.stop()
                for finished in list(self._rich.task_ids):
                    self._rich.remove_task(finished)

    def note(self, line: str) -> None:
        """Print one line above the bars."""
        self._rich.console.print(line, markup=False, highlight=False)

    def show(self, task: int, n: int, facts: str) -> None:
        """Move one bar by `n` items."""
        from rich.progress import TaskID

        if facts:
            self._rich.update(TaskID(task), advance=n, facts=facts)
        else:
            self._rich.update(TaskID(task), advance=n)


class _LiveBar:
    def __init__(self, view: LiveProgress, task: int) -> None:
        self._view, self._task = view, task
        self._facts: dict[str, str | float] = {}

    def advance(self, n: int = 1, **facts: str | float) -> None:
        self._facts.update(facts)
        self._view.show(self._task, n, facts_text(self._facts))
