"""The pieces charts are drawn with: elements with escaped attributes, number formats, scales and ticks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

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
