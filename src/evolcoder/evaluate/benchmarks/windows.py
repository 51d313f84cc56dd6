"""Windows of dates over benchmarks whose problems have one: "livecodebench:2024-08-01..2025-02-01@v5".

A window stands where other benchmarks name a split; either end may be left out, and both belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet

_DATE = r"(\d{4}-\d\d-\d\d)?"
_NAME = re.compile(rf"([^:@]+):{_DATE}\.\.{_DATE}(@[^:@]+)?")


@dataclass(frozen=True, slots=True)
class Window:
    """From one day to another, both included."""

    first: date = date.min
    last: date = date.max

    @property
    def text(self) -> str:
        """As it stands in a name; an end without a bound is left out."""
        first = "" if self.first == date.min else self.first.isoformat()
        return f"{first}..{'' if self.last == date.max else self.last.isoformat()}"


def split_window(name: str) -> tuple[str, Window | None]:
    """Return a name without its window, and the window; raises UserError for a day that no calendar has."""
    match = _NAME.fullmatch(name)
    if match is None:
        return name, None
    try:
        first = date.fromisoformat(match[2]) if match[2] else date.min
        last = date.fromisoformat(match[3]) if match[3] else date.max
    except ValueError as error:
        raise UserError(f"benchmark {name!r}: {error}; days like 2024-08-01 are expected") from error
    if first > last:
        raise UserError(f"benchmark {name!r}: its window ends before it begins")
    return match[1] + (match[4] or ""), Window(first, last)


def windowed(name: str, first: date | None, last: date | None) -> str:
    """Return a benchmark's name with the window of two days; the name itself where there is neither."""
    if first is None and last is None:
        return name
    if split_window(name)[1] is not None:
        raise UserError(f"benchmark {name!r} has a window in its name: leave out --from and --to")
    base, at, version = name.partition("@")
    named = f"{base}:{Window(first or date.min, last or date.max).text}{at}{version}"
    if split_window(named)[1] is None:
        raise UserError(f"benchmark {name!r} has no dates for --from and --to")
    return named


def set_within(named: NamedSet, window: Window | None) -> NamedSet:
    """Return what a name with a window tells: days take the place of numbers, and its size is not known."""
    if window is None or not named.dated:
        return named
    return replace(named, first=window.first.toordinal(), last=window.last.toordinal(), size=0)


def within(benchmark: Benchmark, name: str, window: Window | None) -> Benchmark:
    """Return a benchmark within a window; raises UserError where it has no dates or nothing is left."""
    if window is None:
        return benchmark
    if any("date" not in problem.extra for problem in benchmark.problems):
        raise UserError(f"benchmark {name!r}: the problems of {benchmark.name} have no dates")
    dates = [date.fromisoformat(problem.extra["date"]) for problem in benchmark.problems]
    dated = zip(benchmark.problems, dates, strict=True)
    chosen = [problem for problem, day in dated if window.first <= day <= window.last]
    if not chosen:
        raise UserError(
            f"benchmark {name!r}: none of its problems, from {min(dates)} to {max(dates)}, is of it"
        )
    return replace(benchmark, name=f"{benchmark.name}:{window.text}", problems=tuple(chosen))


def seen_notice(sets: Iterable[tuple[str, NamedSet]], released: date | None) -> str:
    """Return the sentence that names dated `sets` with problems older than the base model; "" for none."""
    if released is None:
        return ""
    seen = ", ".join(name for name, named in sets if named.dated and named.first < released.toordinal())
    told = (
        f"The base model was published on {released}: it may have seen the problems of {seen} that are older."
    )
    return told if seen else ""
