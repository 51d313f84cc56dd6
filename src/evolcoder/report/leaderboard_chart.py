"""The leaderboard's bar chart, in the manner of the WizardCoder paper's Figure 1: pass@1 by model.

The best one stands on top.

Measured models stand out in colour and have their 95% interval drawn; published ones are grey and have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evolcoder.report.leaderboard import Entry
from evolcoder.report.shapes import Box, Label, Shape, Stroke, as_png, as_svg
from evolcoder.report.svg import nice_ticks, scale
from evolcoder.runs import writing_whole

_WIDTH = 860.0
_ROW, _BAR = 26.0, 17.0
_TOP, _BOTTOM, _RIGHT = 62.0, 64.0, 86.0
_CHARACTER = 7.3
"""Width of a character of 13 units, on the safe side."""
_LONGEST = 44
_MEASURED, _SUBSET, _PUBLISHED = "#2563a8", "#8fb4dc", "#c9ced6"
_INK, _SOFT, _GRID = "#1c2430", "#667080", "#e3e7ed"


def chart(entries: Sequence[Entry], family: str) -> tuple[float, float, list[Shape]]:
    """Return (width, height, shapes) of the chart of one benchmark's pass@1, in the order given."""
    names = [_short(entry) for entry in entries]
    left = 20.0 + _CHARACTER * max(map(len, names))
    height = _TOP + _ROW * len(entries) + _BOTTOM
    top = max([entry.percent for entry in entries] + [entry.high or 0.0 for entry in entries])
    ticks = [tick for tick in nice_ticks(0.0, max(top, 1.0)) if tick <= 100]
    x = scale(0.0, max(ticks[-1], top), left, _WIDTH - _RIGHT)
    shapes: list[Shape] = [Label(16, 24, f"pass@1 on {family} (%)", _INK, 18)]
    floor = height - _BOTTOM + 4
    for tick in ticks:
        shapes.append(Stroke(x(tick), _TOP - 12, x(tick), floor, _GRID))
        shapes.append(Label(x(tick), floor + 12, f"{tick:g}", _SOFT, 12, "middle"))
    for row, (entry, name) in enumerate(zip(entries, names, strict=True)):
        shapes += _bar(entry, name, _TOP + _ROW * row, x, left)
    shapes.append(Stroke(left, _TOP - 12, left, floor, _SOFT))
    return _WIDTH, height, [*shapes, *_legend(entries, height)]


def _short(entry: Entry) -> str:
    text = entry.model if len(entry.model) <= _LONGEST else entry.model[: _LONGEST - 1] + "…"
    return f"{text} *" if entry.subset else text


def _bar(entry: Entry, name: str, y: float, x: Callable[[float], float], left: float) -> list[Shape]:

    middle = y + _BAR / 2
    color = _PUBLISHED if not entry.measured else _SUBSET if entry.subset else _MEASURED
    end = x(entry.percent)
    shapes: list[Shape] = [
        Label(left - 8, middle, name, _INK if entry.measured else _SOFT, 13, "end"),
        Box(left, y, max(end - left, 1.0), _BAR, color),
    ]
    label_at = end
    if entry.low is not None and entry.high is not None:
        low, high = x(entry.low), x(entry.high)
        shapes.append(Stroke(low, middle, high, middle, _INK, 1.4))
        shapes += [Stroke(at, middle - 4, at, middle + 4, _INK, 1.4) for at in (low, high)]
        label_at = max(high, end)
    shapes.append(Label(label_at + 7, middle, f"{entry.percent:.1f}", _INK, 13))
    return shapes


def _legend(entries: Sequence[Entry], height: float) -> list[Shape]:
    kinds = [
        ("measured, with 95% interval", _MEASURED, any(e.measured and not e.subset for e in entries)),
        ("* a subset of the problems", _SUBSET, any(e.subset for e in entries)),
        ("published", _PUBLISHED, any(not e.measured for e in entries)),
    ]
    shapes: list[Shape] = []
    at = 16.0
    for text, color, shown in kinds:
        if shown:
            shapes += [Box(at, height - 26, 12, 12, color), Label(at + 18, height - 20, text, _SOFT, 12)]
            at += 44 + 6.8 * len(text)
    return shapes


def write_chart(path: Path, entries: Sequence[Entry], family: str) -> None:
    """Write the chart as SVG or PNG, by the file's ending, whole."""
    width, height, shapes = chart(entries, family)
    if path.suffix.lower() == ".png":
        data = as_png(width, height, shapes)
    else:
        said = ", ".join(f"{entry.model} {entry.percent:.1f}" for entry in entries)
        data = as_svg(width, height, shapes, f"pass@1 on {family}: {said}").encode()
    with writing_whole(path) as partial:
        partial.write_bytes(data)
