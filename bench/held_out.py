"""Does fine-tuning lower the loss on rows it never saw? SmolLM2-135M on 500 rows of Code Alpaca.

    python bench/held_out.py --data code_alpaca_20k.json --svg docs/images/held-out-loss.svg

Draws 500 rows to train on and 100 others to measure on, trains one epoch in bf16 through the same door as
`evolcoder train`, and prints the held-out loss step by step; `--svg` draws it with the training loss.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from evolcoder.instructions import read_instructions
from evolcoder.progress import SilentProgress
from evolcoder.report.charts import element, nice_ticks, path, picture, scale
from evolcoder.train import TrainSettings, train

Curve = Sequence[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 300, 50, 40


class PrintedNotes(SilentProgress):
    """Shows the log lines of the training as they come."""

    def note(self, line: str) -> None:
        """Print a line at once."""
        print(f"    {line}", flush=True)


def drawn(training: Curve, held_out: Curve) -> str:
    """Return an SVG picture of both curves that needs no style sheet."""
    losses = [loss for _, loss in (*training, *held_out)]
    ticks = nice_ticks(min(losses), max(losses))
    last = max(step for step, _ in (*training, *held_out))
    x = scale(0, last, LEFT, WIDTH - 10)
    y = scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, 24)

    def line(curve: Curve, colour: str, width: float) -> Markup:
        points = [(x(step), y(loss)) for step, loss in curve]
        return element("path", d=path(points), fill="none", stroke=colour, stroke_width=width)

    def text(at_x: float, at_y: float, words: str, anchor: str, colour: str = "#555") -> Markup:
        return element(
            "text",
            words,
            x=at_x,
            y=at_y,
            font_family="sans-serif",
            font_size=12,
            text_anchor=anchor,
            fill=colour,
        )

    parts = [element("rect", width=WIDTH, height=HEIGHT, fill="#fff")]
    for tick in ticks:
        parts.append(element("line", x1=LEFT, x2=WIDTH - 10, y1=y(tick), y2=y(tick), stroke="#ddd"))
        parts.append(text(LEFT - 6, y(tick) + 4, f"{tick:g}", "end"))
    for step in nice_ticks(0, last):
        if step <= last:
            parts.append(text(x(step), HEIGHT - BOTTOM + 18, f"{step:g}", "middle"))
    if training:
        parts.append(line(training, "#b8c4d6", 1.2))
        parts.append(text(LEFT + 190, 14, "training batch", "start", "#7a8aa5"))
    parts.append(line(held_out, "#c2410c", 2.4))
    parts += [element("circle", cx=x(step), cy=y(loss), r=3, fill="#c2410c") for step, loss in held_out]
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - 6, "optimizer step", "middle"))
    parts.append(text(LEFT, 14, "loss, nats a token: ", "start"))
    parts.append(text(LEFT + 125, 14, "held out", "start", "#c2410c"))
    return str(picture(WIDTH, HEIGHT, parts))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="rows (JSON, JSONL or Parquet)")
    parser.add_argument("--rows", type=int, default=500, help="rows to train on")
    parser.add_argument("--held-out", type=int, default=100, help="rows to measure on")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--out", type=Path, help="keep the model here; the same command goes on after a stop")
    parser.add_argument("--svg", type=Path, help="where to draw the curve")
    options = parser.parse_args()
    drawn_rows = random.Random(0).sample(read_instructions(options.data), options.rows + options.held_out)
    settings = TrainSettings(
        epochs=options.epochs,
        batch_size=16,
        warmup_steps=6,
        eval_every_steps=8,
        save_every_steps=2,
        tracking=(),
    )
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            "embedded",
            drawn_rows[: options.rows],
            settings,
            options.out or Path(folder) / "model",
            PrintedNotes(),
            drawn_rows[options.rows :],
        )
    print("| step | held-out loss |\n|---|---|")
    for step, loss in result.held_out_losses:
        print(f"| {step} | {loss:.4f} |")
    if options.svg:
        training = [(number, loss) for number, loss in enumerate(result.losses, 1)]
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        options.svg.write_text(drawn(training, result.held_out_losses), encoding="utf-8")


if __name__ == "__main__":
    main()
