"""The leaderboard's bar charts: one benchmark's pass@1 by model, and the WizardCoder paper's Figure 1.

Measured models stand out in colour and have their 95% interval drawn; published ones are grey and have none.
A narrow chart sets each name above its bars, so that it can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from evolcoder.report.charts import element, nice_ticks, picture, scale
from evolcoder.report.leaderboard import Entry, chart_kind
from evolcoder.runs import writing_whole

Anchor = Literal["start", "middle", "end"]
_FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    color: str


@dataclass(frozen=True, slots=True)
class Stroke:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    color: str
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text; `y` is its middle."""

    x: float
    y: float
    text: str
    color: str
    size: float = 13.0
    anchor: Anchor = "start"


Shape = Box | Stroke | Label


def as_svg(width: float, height: float, shapes: Sequence[Shape], label: str, dark: Mapping[str, str]) -> str:
    """Return an SVG file, `label` for readers who do not see it, `dark` the colours of a dark system."""
    rules = "".join(
        f'[{attribute}="{color}"]{{{attribute}:{shown}}}'
        for color, shown in dark.items()
        for attribute in ("fill", "stroke")
    )
    parts = [
        element("style", Markup(f"@media (prefers-color-scheme:dark){{{rules}}}")),
        element("rect", width=width, height=height, fill="#ffffff"),
        *map(_element, shapes),
    ]
    svg = picture(width, height, [element("title", label), *parts], role="img", font_family=_FONT)
    return f"{svg}\n"


def _element(shape: Shape) -> Markup:
    if isinstance(shape, Box):
        return element("rect", x=shape.x, y=shape.y, width=shape.width, height=shape.height, fill=shape.color)
    if isinstance(shape, Stroke):
        ends = {"x1": shape.x1, "y1": shape.y1, "x2": shape.x2, "y2": shape.y2}
        return element("line", stroke=shape.color, stroke_width=shape.width, **ends)
    return element(
        "text",
        shape.text,
        x=shape.x,
        y=shape.y,
        fill=shape.color,
        font_size=shape.size,
        text_anchor=shape.anchor,
        dominant_baseline="central",
    )


def as_png(width: float, height: float, shapes: Sequence[Shape]) -> bytes:
    """Return a PNG file of the same drawing, 2 pixels a unit, with the font that Pillow carries."""
    from PIL import Image, ImageDraw, ImageFont

    scale = 2.0
    image = Image.new("RGB", (round(width * scale), round(height * scale)), "#ffffff")
    draw = ImageDraw.Draw(image)
    anchors = {"start": "lm", "middle": "mm", "end": "rm"}
    for shape in shapes:
        if isinstance(shape, Box):
            right, bottom = (shape.x + shape.width) * scale, (shape.y + shape.height) * scale
            draw.rectangle((shape.x * scale, shape.y * scale, right, bottom), fill=shape.color)
        elif isinstance(shape, Stroke):
            ends = (shape.x1 * scale, shape.y1 * scale, shape.x2 * scale, shape.y2 * scale)
            draw.line(ends, fill=shape.color, width=max(1, round(shape.width * scale)))
        else:
            font = ImageFont.load_default(shape.size * scale)
            place = (shape.x * scale, shape.y * scale)
            draw.text(place, shape.text, fill=shape.color, font=font, anchor=anchors[shape.anchor])
    data = BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()


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
    "#ffffff": "#16181d", _INK: "#e8eaee", _SOFT: "#a3acba", _GRID: "#2b3038",
    _MEASURED: "#6ba3e8", _SUBSET: "#3d5f8a", _PUBLISHED: "#4a515c",
    _MEASURED_PLUS: "#f0a94b", _PUBLISHED_PLUS: "#7b8696",
}  # fmt: skip
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
            told = ((row.name, " and ".join(f"{e.percent:.1f}" for e in row.bars)) for row in rows)
            said = ", ".join(map(" ".join, told))
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
