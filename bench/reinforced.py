"""Does learning from execution raise the held-out pass rate? SmolLM2-135M, MBPP's train split, three seeds.

    python bench/reinforced.py OUT --svg docs/images/reinforced.svg
    python bench/reinforced.py OUT --methods grpo --steps 40

Measures the embedded model on MBPP's test split, lets it learn from MBPP's train split by `rft` and by
`grpo`, once for each seed, and measures what comes out. Then Student's t over the seeds against the start
(Welch's test, of which one group is a constant), corrected for two methods by Holm, and a picture. The same
command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

from markupsafe import Markup

from evolcoder.evaluate.t_test import holm, welch_test
from evolcoder.report.charts import element, nice_ticks, path, picture, scale

METHODS = ("rft", "grpo")
SAMPLING = (
    "--set",
    "max_tokens=192",
    "--set",
    "sample_batch=128",
    "--set",
    "dtype=bf16",
    "--group-size",
    "8",
)
SETTINGS = {
    "rft": ("--rounds", "2", "--set", "temperature=0.5", "--set", "learning_rate=5e-5", "--set", "epochs=3"),
    "grpo": (
        *("--set", "tasks_per_step=8", "--set", "refill=0", "--set", "temperature=0.7"),
        *("--set", "learning_rate=2e-5", "--set", "reward.score=share", "--set", "reward.format=0.2"),
    ),
}
MEASURED = (
    "--style",
    "wizardcoder",
    "--n",
    "4",
    "--temperature",
    "0.2",
    "--top-p",
    "0.95",
    "--max-tokens",
    "192",
)
COLOURS = {"rft": "#0f766e", "grpo": "#c2410c"}
WIDTH, HEIGHT, LEFT, MIDDLE, BOTTOM = 760, 300, 46, 420, 40


def evolcoder(*arguments: str) -> None:
    """Run a command as a user would; end where it fails."""
    print("evolcoder", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "evolcoder", *arguments], check=True)


def learn(out: Path, method: str, seed: int, steps: int) -> Path:
    """Return the folder of the model that learnt, begun or gone on with."""
    model = out / f"{method}{seed}"
    where = ("--model", "embedded", "--tasks", "benchmark:mbpp:train", "--out", str(model))
    settings = (*SETTINGS[method], *(("--steps", str(steps)) if method == "grpo" else ()))
    evolcoder("reinforce", "--method", method, *where, *SAMPLING, *settings, "--set", f"seed={seed}")
    return model


def measured(out: Path, model: str, name: str, limit: int) -> tuple[float, int]:
    """Return pass@1 on MBPP's test split, and of how many samples."""
    folder = out / f"m-{name}"
    evolcoder(
        *("evaluate", "-m", model, "-b", "mbpp", *MEASURED, "--limit", str(limit)),
        *("--out", str(folder), "--overwrite"),
    )
    problems: dict[str, list[bool]] = json.loads((folder / "mbpp" / "scores.json").read_text())["problems"]
    return fmean(fmean(verdicts) for verdicts in problems.values()), sum(map(len, problems.values()))


def solved_by_step(model: Path) -> list[tuple[float, float]]:
    """Return the share of sampled answers that passed all rewarded tests, by step of grpo."""
    told = json.loads((model / "training.json").read_text())["reinforce"]
    return [(float(step["step"]), float(step["solved"])) for step in told["curve"]]


def smoothed(curve: Sequence[tuple[float, float]], over: int = 4) -> list[tuple[float, float]]:
    """Return means over windows: one step has 64 answers."""
    return [
        (curve[i][0], fmean(value for _, value in curve[max(0, i - over + 1) : i + 1]))
        for i in range(len(curve))
    ]


def drawn(
    curves: Sequence[Sequence[tuple[float, float]]], start: float, scores: dict[str, list[float]]
) -> str:
    """Return an SVG picture: what was solved while grpo learnt, and the held-out scores of every seed."""
    parts = [element("rect", width=WIDTH, height=HEIGHT, fill="#fff")]

    def text(x: float, y: float, words: str, anchor: str = "middle", colour: str = "#555") -> Markup:
        look: dict[str, str | float] = {"font_family": "sans-serif", "font_size": 12, "fill": colour}
        return element("text", words, x=x, y=y, text_anchor=anchor, **look)

    def axes(left: float, right: float, top: float) -> Iterator[Markup]:
        y = scale(0, top, HEIGHT - BOTTOM, 30)
        for tick in (tick for tick in nice_ticks(0, top) if tick <= top):
            yield element("line", x1=left, x2=right, y1=y(tick), y2=y(tick), stroke="#ddd")
            yield text(left - 6, y(tick) + 4, f"{100 * tick:g}", "end")

    steps = [smoothed(curve) for curve in curves]
    top = 1.1 * max((value for curve in steps for _, value in curve), default=1.0)
    parts += axes(LEFT, MIDDLE - 70, top)
    last = max((step for curve in steps for step, _ in curve), default=2.0)
    x = scale(1, last, LEFT, MIDDLE - 70)
    ticks = [tick for tick in nice_ticks(1, last) if 1 <= tick <= last]
    parts += [text(x(tick), HEIGHT - BOTTOM + 16, f"{tick:g}") for tick in ticks]
    y = scale(0, top, HEIGHT - BOTTOM, 30)
    for curve in steps:
        points = [(x(step), y(value)) for step, value in curve]
        parts.append(element("path", d=path(points), fill="none", stroke=COLOURS["grpo"], stroke_width=1.6))
    parts.append(text(LEFT - 30, 16, "answers that pass while grpo learns, %, mean of 4 steps", "start"))
    parts.append(text((LEFT + MIDDLE - 70) / 2, HEIGHT - 8, "step"))
    top = 1.15 * max(start, *(value for some in scores.values() for value in some))
    y = scale(0, top, HEIGHT - BOTTOM, 30)
    parts += axes(MIDDLE, WIDTH - 10, top)
    parts.append(text(MIDDLE - 30, 16, "pass@1 on MBPP's test split, %, each seed", "start"))
    groups = {"start": [start], **scores}
    places = scale(0, len(groups), MIDDLE, WIDTH - 10)
    for at, (name, values) in enumerate(groups.items()):
        centre, colour = places(at + 0.5), COLOURS.get(name, "#333")
        for i, value in enumerate(values):
            across = centre + 14 * (i - (len(values) - 1) / 2)
            parts.append(element("circle", cx=across, cy=y(value), r=4, fill=colour))
        mean = y(fmean(values))
        parts.append(
            element("line", x1=centre - 26, x2=centre + 26, y1=mean, y2=mean, stroke=colour, stroke_width=1.5)
        )
        parts.append(text(centre, HEIGHT - BOTTOM + 18, name, colour=colour))
    return str(picture(WIDTH, HEIGHT, parts))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of all that is made")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=500, help="problems, evenly spaced")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--steps", type=int, default=16, help="of grpo")
    parser.add_argument("--svg", type=Path, help="where to draw the picture")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: at least 2 are expected, for a variance")
    start, n_samples = measured(options.out, "embedded", "base", options.limit)
    scores: dict[str, list[float]] = {method: [] for method in options.methods}
    curves = []
    for seed in range(options.seeds):
        for method in options.methods:
            model = learn(options.out, method, seed, options.steps)
            score, _ = measured(options.out, str(model), model.name, options.limit)
            scores[method].append(score)
            if method == "grpo":
                curves.append(solved_by_step(model))
    print(f"start: {100 * start:.1f} (pass@1 in percent, {n_samples} samples)")
    found = {method: welch_test([start], values, 1 / n_samples) for method, values in scores.items()}
    corrected = holm([test.p_value for test in found.values()])
    for (method, test), p_value in zip(found.items(), corrected, strict=True):
        each = ", ".join(f"{100 * value:.1f}" for value in scores[method])
        print(
            f"{method}: {each}; {100 * test.difference:+.1f} [{100 * test.low:.1f}, {100 * test.high:.1f}], "
            f"p = {test.p_value:.4f}, by Holm {p_value:.4f}; deviation {100 * stdev(scores[method]):.1f}"
        )
    if options.svg:
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        options.svg.write_text(drawn(curves, start, scores), encoding="utf-8")


if __name__ == "__main__":
    main()
