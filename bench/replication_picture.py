"""Draw every training of several ablations, and of models measured apart, as a point: one row an arm.

python bench/replication_picture.py OUT.svg abc/ablation/ablation.json teacher/ablation/ablation.json \
    --further R=R/m-0,R/m-1,R/m-2
python bench/replication_picture.py OUT.svg tokens/ablation/ablation.json \
    "equal rows=rows/ablation/ablation.json"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

from evolcoder.report.charts import element, nice_ticks, picture, scale

PANEL, TOP, ROW = 330, 40, 30
Trainings = dict[str, dict[str, list[float]]]
"""pass@1 of each training, by benchmark and arm."""


def of_ablations(files: list[str]) -> Trainings:
    """Return what ablations measured; an arm that several have is the first one's.

    `WORDS=FILE` adds words to the names of the arms that are trained.
    """
    found: Trainings = {}
    for given in files:
        *words, file = given.split("=", 1)
        for arm in json.loads(Path(file).read_text())["arms"]:
            name = ", ".join([arm["name"], *(words if arm["rows"] else ())])
            for score in arm["scores"]:
                found.setdefault(score["benchmark"], {}).setdefault(name, score["trainings"])
    return found


def add_measured(found: Trainings, name: str, folders: list[Path]) -> None:
    """Add an arm of models that `evolcoder evaluate` measured, a folder each."""
    for benchmark in found:
        files = [folder / benchmark / "scores.json" for folder in folders]
        problems = [json.loads(file.read_text())["problems"] for file in files if file.exists()]
        found[benchmark][name] = [fmean(fmean(verdicts) for verdicts in each.values()) for each in problems]


def drawn(found: Trainings) -> str:
    """Return the SVG picture: a panel a benchmark, a row an arm, a point a training, a line their mean."""
    arms = list(next(iter(found.values())))
    side = 34 + 7 * max(map(len, arms))
    width, height = side + PANEL * len(found), TOP + ROW * len(arms) + 40
    words: dict[str, str | float] = {"font_family": "sans-serif", "font_size": 13, "fill": "#444"}
    parts = [element("rect", width=width, height=height, fill="#fff")]
    for row, arm in enumerate(arms):
        parts.append(element("text", arm, x=4, y=TOP + ROW * (row + 0.5) + 4, **words))
    top = 1.08 * max(value for arms_of in found.values() for each in arms_of.values() for value in each)
    for panel, (benchmark, by_arm) in enumerate(found.items()):
        left = side + PANEL * panel
        x = scale(0, top, left, left + PANEL - 30)
        parts.append(element("text", f"{benchmark}, pass@1 in %", x=left, y=22, **words))
        for tick in (tick for tick in nice_ticks(0, top) if tick <= top):
            line: dict[str, str | float] = {"y1": TOP, "y2": TOP + ROW * len(arms), "stroke": "#ddd"}
            parts.append(element("line", x1=x(tick), x2=x(tick), **line))
            at: dict[str, str | float] = {"x": x(tick), "y": height - 20, "text_anchor": "middle"}
            parts.append(element("text", f"{100 * tick:g}", **at, **words))
        for row, arm in enumerate(arms):
            y, values = TOP + ROW * (row + 0.5), by_arm[arm]
            parts += [element("circle", cx=x(v), cy=y, r=4.5, fill="#2457c5", opacity=0.6) for v in values]
            mean = x(fmean(values))
            parts.append(
                element("line", x1=mean, x2=mean, y1=y - 10, y2=y + 10, stroke="#111", stroke_width=2)
            )
    return str(picture(width, height, parts))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("svg", type=Path)
    parser.add_argument("ablation", nargs="+", metavar="[WORDS=]FILE")
    parser.add_argument("--further", action="append", default=[], metavar="NAME=FOLDER,...")
    options = parser.parse_args()
    found = of_ablations(options.ablation)
    for given in options.further:
        name, _, folders = given.partition("=")
        add_measured(found, name, [Path(folder) for folder in folders.split(",")])
    options.svg.write_text(drawn(found), encoding="utf-8")


if __name__ == "__main__":
    main()
