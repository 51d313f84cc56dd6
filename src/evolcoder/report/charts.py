"""The charts of a report, as inline SVG drawn from plain numbers.

Colours are CSS classes (`c0` to `c9`, `best`, `muted`), so that one drawing serves light, dark and print.
Bars have percentage coordinates and stretch. Charts with text inside are drawn twice, wide and narrow, and
the style sheet shows the one that fits, because text must not shrink with the drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from evolcoder.records import round_order

if TYPE_CHECKING:
    from evolcoder.report.rows import Spread
import itertools
import math

Points = Sequence[tuple[float, float]]
"""(x, y) pairs in order of x."""


def element(name: str, *content: str | Markup, **attributes: str | float) -> Markup:
    """Return one SVG element; text and attribute values are escaped, numbers get at most 2 decimals.

    `class_` stands for the attribute `class`, an underscore for a hyphen.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), value if isinstance(value, str) else number(value)
        )
        for key, value in attributes.items()
    )
    body = Markup("").join(content)
    return Markup("<{}{}>{}</{}>").format(name, written, body, name)


def drawing(width: int, height: int, label: str, parts: Sequence[Markup]) -> Markup:
    """Return an SVG that scales as a whole, with `label` for readers who do not see it."""
    return element("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def picture(width: float, height: float, parts: Sequence[Markup], **attributes: str | float) -> Markup:
    """Return an SVG that is a file of its own, of this size unless scaled."""
    box = f"0 0 {number(width)} {number(height)}"
    size: dict[str, str | float] = {"width": width, "height": height, "viewBox": box}
    return element("svg", *parts, xmlns="http://www.w3.org/2000/svg", **size, **attributes)


def strip(height: int, label: str, parts: Sequence[Markup]) -> Markup:
    """Return an SVG as wide as its place and of fixed height, for parts with percentage coordinates."""
    return element("svg", *parts, class_="bar", width="100%", height=height, role="img", aria_label=label)


def number(value: float) -> str:
    """Return a coordinate with at most 2 decimals and no trailing zeros; 0 for what is not finite."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


def plain(value: float) -> str:
    """Return a number for people: thousands separated, at most 4 significant digits below 1000."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def share(part: float, whole: float) -> float:
    """Return a part in percent of the whole; 0 where there is no whole."""
    return 100 * part / whole if whole > 0 else 0.0


def scale(from_low: float, from_high: float, to_low: float, to_high: float) -> Callable[[float], float]:
    """Return the linear map from one range to another."""
    span = (from_high - from_low) or 1.0
    return lambda value: to_low + (value - from_low) / span * (to_high - to_low)


def path(points: Points) -> str:
    """Return the SVG path through points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def thin(points: Points, most: int = 240) -> list[tuple[float, float]]:
    """Return at most `most` points by averaging equal runs; few points come back unchanged."""
    if len(points) <= most:
        return list(points)
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    runs = [points[start:end] for start, end in itertools.pairwise(edges)]
    return [(run[-1][0], sum(y for _, y in run) / len(run)) for run in runs]


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers, evenly spaced, from at most `low` to at least `high`."""
    if not math.isfinite(low) or not math.isfinite(high):
        return [0.0, 1.0]
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-9):
        high = max(high, low + (0.1 * abs(low) if abs(low) > 1e-9 else 1.0))
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10, 20) if m * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def tick_label(ticks: Sequence[float]) -> Callable[[float], str]:
    """Return the format of evenly spaced ticks: as many decimals as their step needs, for all alike."""
    step = ticks[1] - ticks[0]
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < step * 1e-6), 6)
    return lambda tick: f"{tick:,.{decimals}f}"


WIDE, NARROW = 760, 340
"""Widths of the two drawings of a chart, in CSS pixels."""
_LEFT, _RIGHT, _BOTTOM = 46, 16, 42
"""Room for the axes' labels, in the drawing's units."""


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """One round on the score chart; fractions in [0, 1]."""

    round: int
    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """The scores of one run through its rounds."""

    name: str
    points: Sequence[ScorePoint]
    css: str


@dataclass(frozen=True, slots=True)
class Line:
    """One curve and the number of its colour."""

    name: str
    points: Points
    color: int
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a stacked bar, coloured by its CSS class."""

    name: str
    size: float
    css: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One problem in one round; `opacity` is the share of samples that passed where there are several."""

    css: str
    opacity: float = 1.0


def both_widths(draw: Callable[[int], Markup]) -> Markup:
    """Return a chart drawn wide and narrow; CSS shows one of them."""
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(draw(WIDE), draw(NARROW))


def score_chart(
    points: Sequence[ScorePoint], best: int | None, width: int = WIDE, measure: str = "pass@1"
) -> Markup:
    """Draw scores by round: a line in its band of 95% intervals, best round and base marked."""
    height, top = 300, 34
    floor = height - _BOTTOM
    x_of = scale(0, max(1, len(points) - 1), _LEFT + 34, width - _RIGHT - 34)
    y_of, parts = _percent_axis(points, floor, top, width)
    upper = [(x_of(i), y_of(point.high)) for i, point in enumerate(points)]
    middle = [(x_of(i), y_of(point.value)) for i, point in enumerate(points)]
    lower = [(x_of(i), y_of(point.low)) for i, point in enumerate(points)]
    parts += [
        element("path", class_="band", d=path([*upper, *lower[::-1]]) + "Z"),
        element("line", class_="reference", x1=_LEFT, x2=width - _RIGHT, y1=middle[0][1], y2=middle[0][1]),
        element("path", class_="curve c0", d=path(middle)),
    ]
    for point, (x, y), (_, y_high), (_, y_low) in zip(points, middle, upper, lower, strict=True):
        css = "best" if point.round == best else "c0"
        parts.append(
            element(
                "g",
                element("title", f"{point.label}: {_with_interval(point)}"),
                element("line", class_=f"interval {css}", x1=x, x2=x, y1=y_low, y2=y_high),
                element("circle", class_=f"dot {css}", cx=x, cy=y, r=7 if css == "best" else 5),
                _text("value " + css, x, y_high - 9, f"{100 * point.value:.1f}"),
                _text("tick", x, floor + 24, point.label),
            )
        )
    return drawing(width, height, f"{measure} by round with 95% intervals", parts)


def scores_chart(lines: Sequence[ScoreLine], width: int = WIDE) -> Markup:
    """Draw pass@1 by round of several runs, with 95% intervals, set a little apart at each round."""
    height, top = 300, 20
    floor = height - _BOTTOM
    points = [point for line in lines for point in line.points]
    numbers = sorted({point.round for point in points}, key=round_order)
    place_of = {number: place for place, number in enumerate(numbers)}
    x_of = scale(0, max(1, len(numbers) - 1), _LEFT + 40, width - _RIGHT - 40)
    y_of, parts = _percent_axis(points, floor, top, width)
    names = {point.round: point.label for point in points}
    parts += [_text("tick", x_of(place_of[number]), floor + 24, name) for number, name in names.items()]
    for place, line in enumerate(lines):
        apart = 9 * (place - (len(lines) - 1) / 2)
        at = [(x_of(place_of[point.round]) + apart, y_of(point.value)) for point in line.points]
        parts.append(element("path", class_=f"curve {line.css}", d=path(at)))
        for point, (x, y) in zip(line.points, at, strict=True):
            title = element("title", f"{line.name}, {point.label}: {_with_interval(point)}")
            y1, y2 = y_of(point.low), y_of(point.high)
            whisker = element("line", class_=f"interval {line.css}", x1=x, x2=x, y1=y1, y2=y2)
            dot = element("circle", class_=f"dot {line.css}", cx=x, cy=y, r=5)
            parts.append(element("g", title, whisker, dot))
    return drawing(width, height, "pass@1 by round of each run, with 95% intervals", parts)


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, width: int = WIDE) -> Markup:
    """Draw curves over one pair of axes; the y axis need not start at 0, every line has a point."""
    height, top = 270, 22
    floor = height - _BOTTOM
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_ticks = nice_ticks(min(xs), max(xs), 6 if width == WIDE else 3)
    y_ticks = nice_ticks(min(ys), max(ys))
    x_of = scale(x_ticks[0], x_ticks[-1], _LEFT, width - _RIGHT)
    y_of = scale(y_ticks[0], y_ticks[-1], floor, top)
    parts = _level_lines(y_ticks, y_of, width, tick_label(y_ticks))
    x_label_of = tick_label(x_ticks)
    parts += [_text("tick", x_of(tick), floor + 18, x_label_of(tick)) for tick in x_ticks]
    parts += [
        element(
            "path",
            element("title", line.name),
            class_=f"curve c{line.color}{' dashed' if line.dashed else ''}",
            d=path([(x_of(x), y_of(y)) for x, y in line.points]),
        )
        for line in lines
    ]
    parts.append(_text("axis", width - _RIGHT, height - 4, x_label, anchor="end"))
    parts.append(_text("axis", 0, 11, y_label, anchor="start"))
    return drawing(width, height, f"{y_label} by {x_label}", parts)


def stacked_bar(segments: Sequence[Segment], whole: float) -> Markup:
    """Draw one horizontal bar of segments; `whole` is what the full width stands for."""
    parts, start = [], 0.0
    for segment in segments:
        size = share(segment.size, whole)
        if size > 0:
            title = element("title", f"{segment.name}: {plain(segment.size)}")
            x, wide = f"{number(start)}%", f"{number(size)}%"
            parts.append(element("rect", title, class_=segment.css, x=x, width=wide, height=22))
        start += size
    return strip(22, ", ".join(f"{segment.name} {plain(segment.size)}" for segment in segments), parts)


def spread_bar(spread: Spread, whole: float) -> Markup:
    """Draw how a length is spread: a line from the 5th to the 95th percentile, a box for the middle half."""
    at = [f"{number(share(value, whole))}%" for value in astuple(spread)[1:]]
    box = f"{number(share(spread.p75 - spread.p25, whole))}%"
    parts = [
        element("line", class_="whisker", x1=at[0], x2=at[4], y1=11, y2=11),
        element("rect", class_="c0 soft", x=at[1], width=box, y=4, height=14, rx=2),
        element("line", class_="median", x1=at[2], x2=at[2], y1=1, y2=21),
    ]
    told = f"median {plain(spread.p50)}, middle half {plain(spread.p25)} to {plain(spread.p75)}"
    return strip(22, told, parts)


def interval_bar(point: ScorePoint, whole: float, css: str, trainings: Sequence[float] = ()) -> Markup:
    """Draw a score as a dot on its interval, on an axis to `whole`; a mean as a line among its trainings."""
    x, x1, x2 = (f"{number(share(v, whole))}%" for v in (point.value, point.low, point.high))
    parts = [
        element("line", class_="grid", x1="0", x2="100%", y1=12, y2=12),
        element("line", class_=f"interval {css}", x1=x1, x2=x2, y1=12, y2=12),
    ]
    if trainings:
        parts.append(element("line", class_=f"interval {css}", x1=x, x2=x, y1=3, y2=21))
        for value in trainings:
            title = element("title", f"one training: {100 * value:.1f}%")
            at = f"{number(share(value, whole))}%"
            parts.append(element("circle", title, class_=f"dot training {css}", cx=at, cy=12, r=4.5))
    else:
        parts.append(element("circle", class_=f"dot {css}", cx=x, cy=12, r=7))
    return strip(24, _with_interval(point), parts)


def problem_strip(cells: Sequence[Cell], title: str, size: int) -> Markup:
    """Draw one problem as a column of square cells, a round each; `size` in CSS pixels."""
    step = size + 1
    parts = [_problem_cell(cell, i * step, size) for i, cell in enumerate(cells)]
    return element("svg", element("title", title), *parts, width=size, height=len(cells) * step - 1)


def _problem_cell(cell: Cell, y: int, size: int) -> Markup:
    """A filled square; an outline where a problem was lost, so that colour is not the only sign."""
    if cell.css == "loss":
        return element("rect", class_="loss", x=1, y=y + 1, width=size - 2, height=size - 2, rx=1.5)
    faint = {} if cell.opacity >= 1 else {"fill_opacity": cell.opacity}
    return element("rect", class_=cell.css, y=y, width=size, height=size, rx=1.5, **faint)


def _percent_axis(
    points: Sequence[ScorePoint], floor: int, top: int, width: int
) -> tuple[Callable[[float], float], list[Markup]]:
    """Return the scale of the scores up to the highest bound, and its grid with labels in percent."""
    ticks = nice_ticks(0.0, max(point.high for point in points))
    label, y_of = tick_label([100 * tick for tick in ticks]), scale(0.0, ticks[-1], floor, top)
    return y_of, _level_lines(ticks, y_of, width, lambda tick: f"{label(100 * tick)}%")


def _level_lines(
    ticks: Sequence[float], y_of: Callable[[float], float], width: int, label: Callable[[float], str]
) -> list[Markup]:
    """The horizontal grid with the labels of the y axis."""
    lines = []
    for tick in ticks:
        y = y_of(tick)
        lines.append(element("line", class_="grid", x1=_LEFT, x2=width - _RIGHT, y1=y, y2=y))
        lines.append(_text("tick", _LEFT - 8, y + 4, label(tick), anchor="end"))
    return lines


def _text(css: str, x: float, y: float, text: str, anchor: str = "middle") -> Markup:
    return element("text", text, class_=css, x=x, y=y, text_anchor=anchor)


def _with_interval(point: ScorePoint) -> str:
    return f"{100 * point.value:.1f}% (95% interval {100 * point.low:.1f} to {100 * point.high:.1f})"
