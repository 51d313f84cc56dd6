"""How a stage reports its progress, whatever shows it.

A stage gets a `Progress`, opens a bar for each piece of work, and advances it. A terminal or a log shows it,
or nothing does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, n: int = 1, **facts: str | float) -> None:
        """Add `n` finished items; `facts` replace what is shown beside the bar (e.g. loss=1.2, usd=0.03)."""


class Progress(Protocol):
    """Shows the progress of long work."""

    def bar(self, name: str, total: int | None) -> AbstractContextManager[Bar]:
        """Open a bar called `name` of `total` items (None: unknown) for the length of the with block."""

    def note(self, line: str) -> None:
        """Say one line that stays."""


StageState = Literal["waiting", "running", "done", "kept", "skipped"]
""""kept": done in an earlier sitting."""


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage of a long piece of work, as it stands."""

    title: str
    state: StageState
    seconds: float | None
    """What it took, or is expected to take where it is not done; None where that is not known."""


@runtime_checkable
class StageWatcher(Protocol):
    """A `Progress` that also shows the stages of the whole work."""

    def stages(self, lines: Sequence[StageLine]) -> None:
        """Show all stages in their order; called whenever one begins or ends."""


def duration(seconds: float) -> str:
    """Return a length of time for people: "8.4 s", "42 s", "2 min 05 s", "3 h 07 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def left_text(lines: Sequence[StageLine], elapsed: float) -> str:
    """Return where the whole run stands: stages done, and about how long it goes on."""
    over = sum(line.state in ("done", "kept", "skipped") for line in lines)
    told = f"{over} of {len(lines)} stages at most"
    ahead = [line for line in lines if line.state in ("waiting", "running")]
    if not ahead:
        return told
    unknown = sum(line.seconds is None for line in ahead)
    left = sum(line.seconds or 0.0 for line in ahead)
    running = next((line for line in ahead if line.state == "running" and line.seconds is not None), None)
    if running is not None and running.seconds is not None:
        left -= min(elapsed, running.seconds)
    if unknown == len(ahead):
        return f"{told}; time left not known yet"
    stages = "1 stage" if unknown == 1 else f"{unknown} stages"
    more = f" and {stages} whose time is not known yet" if unknown else ""
    return f"{told}; about {duration(left)} left{more}"


def seconds_left(done: int, total: int | None, elapsed: float) -> float | None:
    """Return about how long work goes on; None without an end, or with under ten items and 5% done."""
    if total is None or not 0 < done < total or (done < 10 and 20 * done < total):
        return None
    return elapsed / done * (total - done)


class SilentProgress:
    """A `Progress` that nobody watches, and its bars."""

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        """Open a bar that shows nothing."""
        yield self

    def advance(self, n: int = 1, **facts: str | float) -> None:
        """Show nothing."""

    def note(self, line: str) -> None:
        """Say nothing."""
