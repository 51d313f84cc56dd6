"""Shapes of a drawing, written as SVG or as PNG, so that both files show the same chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from markupsafe import Markup

from evolcoder.report.svg import element, picture

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
    """Return a standalone SVG file; `label` is for readers who do not see it.

    `dark` has the colours to show instead where the reader's system is dark.
    """
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
