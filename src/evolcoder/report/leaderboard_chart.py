"""The leaderboard's bar charts: one benchmark's pass@1 by model, and the WizardCoder paper's Figure 1.

Measured models stand out in colour and have their 95% interval drawn; published ones are grey and have none.
A narrow chart sets each name above its bars, so that it can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evolcoder.report.leaderboard import Entry, chart_kind
from evolcoder.report.shapes import Box, Label, Shape, Stroke, as_png, as_svg
from evolcoder.report.svg import nice_ticks, scale
from evolcoder.runs import writing_whole

WIDTH = 860
"""Of a chart, in pixels, where nothing else is asked for."""
_NARROW = 560
"""Charts below this width have names above the bars."""
_BAR, _PLUS_BAR, _NAME = 17.0, 13.0, 20.0
_TOP, _RIGHT = 62.0, 52.0
_CHARACTER = 7.3
"""Width of a character of 13 units, on the safe side."""
_LONGEST = 44
_MEASURED, _SUBSET, _PUBLISHED = "#2563a8", "#8fb4dc", "#c9ced6"
_MEASURED_PLUS, _PUBLISHED_PLUS = "#d97706", "#8a94a3"
_INK, _SOFT, _GRID = "#1c2430", "#667080", "#e3e7ed"
_DARK = {
    "#ffffff": "#16181d",
    _MEASURED: "#6ba3e8",
    _SUBSET: "#3d5f8a",
    _PUBLISHED: "#4a515c",
    _MEASURED_PLUS: "#f0a94b",
    _PUBLISHED_PLUS: "#7b8696",
    _INK: "#e8eaee",
    _SOFT: "#a3acba",
    _GRID: "#2b3038",
}
"""The colours where the reader's system is dark (SVG only)."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One model: its name and its bars."""

    name: str
    bars: tuple[Entry, ...]
    colors: tuple[str, ...]


def write_chart(path: Path, entries: Sequence[Entry], family: str, width: int = WIDTH) -> None:
    """Write the chart of one benchmark's pass@1, in the order given, into a .svg or .png file."""
    kind = chart_kind(entries)
    rows = [_Row(_short(e, e.kind != kind), (e,), (_color(e),)) for e in entries]
    legend = [
        ("measured, 95% interval", _MEASURED, any(e.measured and not e.subset for e in entries)),
        ("* a subset of the problems", _SUBSET, any(e.subset for e in entries)),
        ("published", _PUBLISHED, any(not e.measured for e in entries)),
        (f"† not {kind}: does not compare", "", any(e.kind != kind for e in entries)),
    ]
    _write(path, f"pass@1 on {family} (%)", rows, [item[:2] for item in legend if item[2]], width)


def write_figure_1(
    path: Path, pairs: Sequence[tuple[Entry | None, Entry | None]], width: int = WIDTH
) -> None:
    """Write the paper's Figure 1 (HumanEval over HumanEval+, one greedy answer) into a .svg or .png file."""
    rows = []
    for base, plus in pairs:
        bars = tuple(entry for entry in (base, plus) if entry is not None)
        colors = tuple(_color(entry, entry is plus) for entry in bars)
        rows.append(_Row(_short(bars[0], False), bars, colors))
    legend = [("HumanEval", _PUBLISHED), ("HumanEval+", _PUBLISHED_PLUS)]
    if any(entry.measured for row in rows for entry in row.bars):
        legend = [(f"{name}, published", color) for name, color in legend]
        legend += [("HumanEval, measured here", _MEASURED), ("HumanEval+, measured here", _MEASURED_PLUS)]
    if any(entry.subset for row in rows for entry in row.bars):
        legend.append(("* a subset of the problems", ""))
    _write(path, "pass@1 with one greedy answer (%)", rows, legend, width)


def _write(
    path: Path, title: str, rows: Sequence[_Row], legend: Sequence[tuple[str, str]], width: int
) -> None:
    height, shapes = _chart(title, rows, legend, width)
    with writing_whole(path) as partial:
        if path.suffix.lower() == ".png":
            partial.write_bytes(as_png(width, height, shapes))
        else:
            said = ", ".join(
                f"{row.name} {' and '.join(f'{e.percent:.1f}' for e in row.bars)}" for row in rows
            )
            partial.write_text(as_svg(width, height, shapes, f"{title}: {said}", _DARK), encoding="utf-8")


def _chart(
    title: str, rows: Sequence[_Row], legend: Sequence[tuple[str, str]], width: int
) -> tuple[float, list[Shape]]:
    """Return (height, shapes)."""
    narrow = width < _NARROW
    left = 16.0 if narrow else 20.0 + _CHARACTER * max(len(row.name) for row in rows)
    entries = [entry for row in rows for entry in row.bars]
    top = max([entry.percent for entry in entries] + [entry.high or 0.0 for entry in entries])
    ticks = [tick for tick in nice_ticks(0.0, max(top, 1.0)) if tick <= 100]
    x = scale(0.0, max(ticks[-1], top), left, width - _RIGHT)
    bars: list[Shape] = []
    y = _TOP
    for row in rows:
        if narrow:
            bars.append(Label(left + 6, y + 6, row.name, _INK if row.bars[0].measured else _SOFT, 13))
            y += _NAME
        heights = [_BAR] if len(row.bars) == 1 else [_PLUS_BAR] * len(row.bars)
        if not narrow:
            color = _INK if row.bars[0].measured else _SOFT
            bars.append(Label(left - 8, y + sum(heights) / 2, row.name, color, 13, "end"))
        for entry, color, thickness in zip(row.bars, row.colors, heights, strict=True):
            bars += _bar(entry, color, y, thickness, x, left)
            y += thickness
        y += 9.0
    grid: list[Shape] = [Label(16, 24, title, _INK, 16 if narrow else 18)]
    for tick in ticks:
        grid.append(Stroke(x(tick), _TOP - 12, x(tick), y, _GRID))
        grid.append(Label(x(tick), y + 12, f"{tick:g}", _SOFT, 12, "middle"))
    drawn, height = _legend(legend, y + 40, width)
    return height, [*grid, *bars, Stroke(left, _TOP - 12, left, y, _SOFT), *drawn]


def _color(entry: Entry, plus: bool = False) -> str:
    if not entry.measured:
        return _PUBLISHED_PLUS if plus else _PUBLISHED
    return _MEASURED_PLUS if plus else _SUBSET if entry.subset else _MEASURED


def _short(entry: Entry, other_kind: bool) -> str:
    text = entry.model if len(entry.model) <= _LONGEST else entry.model[: _LONGEST - 1] + "…"
    return text + (" *" if entry.subset else "") + (" †" if other_kind else "")


def _bar(
    entry: Entry, color: str, y: float, thickness: float, x: Callable[[float], float], left: float
) -> list[Shape]:
    middle, end = y + thickness / 2, x(entry.percent)
    shapes: list[Shape] = [Box(left, y, max(end - left, 1.0), thickness, color)]
    label_at = end
    if entry.low is not None and entry.high is not None:
        low, high = x(entry.low), x(entry.high)
        shapes.append(Stroke(low, middle, high, middle, _INK, 1.4))
        shapes += [Stroke(at, middle - 4, at, middle + 4, _INK, 1.4) for at in (low, high)]
        label_at = max(high, end)
    size = 13 if thickness == _BAR else 11.5
    shapes.append(Label(label_at + 7, middle, f"{entry.percent:.1f}", _INK, size))
    return shapes


def _legend(items: Sequence[tuple[str, str]], y: float, width: float) -> tuple[list[Shape], float]:
    """Return the legend from height `y` on, in as many lines as it needs, and where it ends."""
    shapes: list[Shape] = []
    at = 16.0
    for text, color in items:
        size = 44 + 6.8 * len(text)
        if at > 16 and at + size > width:
            at, y = 16.0, y + 20
        if color:
            shapes.append(Box(at, y - 6, 12, 12, color))
        shapes.append(Label(at + (18 if color else 0), y, text, _SOFT, 12))
        at += size
    return shapes, y + 22
