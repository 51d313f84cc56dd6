"""An ablation as one HTML file (a plot of all arms, a table with intervals) and as text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evolcoder import __version__
from evolcoder.errors import DataError
from evolcoder.evaluate.t_test import smallest_difference
from evolcoder.report.charts import ScorePoint, interval_bar, nice_ticks
from evolcoder.report.table import p_value, percent, text_table
from evolcoder.report.templating import template
from evolcoder.runs import write_text_whole

ABLATION_NAME = "ablation.html"
ONE_TRAINING = "one training: differences may be of the run, not of the arm"
_HEADER = (
    *("arm", "rows", "tokens", "score", "95% interval", "trainings"),
    *("difference", "95% interval", "p (Holm)"),
)
_TRAININGS = _HEADER.index("trainings")


def write_ablation(folder: Path) -> Path:
    """Write `ablation.html` beside `ablation.json`, return its path; raises DataError without the latter."""
    path = folder / "ablation.json"
    if not path.exists():
        raise DataError(f"{path}: no such file; `evolcoder ablate` writes it")
    found = json.loads(path.read_text())
    html = template("ablation.html.j2").render(
        version=__version__,
        found=found,
        benchmarks=[_view(found, benchmark) for benchmark in found["benchmarks"]],
    )
    target = folder / ABLATION_NAME
    write_text_whole(target, html)
    return target


def ablation_table(found: Mapping[str, Any]) -> str:
    """Return what `ablation.json` holds as text: a table a benchmark, grouped by what is compared."""
    parts = []
    for benchmark in found["benchmarks"]:
        view = _view(found, benchmark)
        rows: list[tuple[str, ...]] = []
        for group in view["groups"]:
            rows.append((f"{group['name']}:", *[""] * (len(view["header"]) - 1)))
            rows += [tuple(arm["cells"]) for arm in group["arms"]]
        title = f"{benchmark}, problems: {view['problems']}; differences: against the first arm of a group"
        parts.append(text_table(title, view["header"], rows))
        for group in view["groups"]:
            if grid := group["grid"]:
                cells = [(name, *(percent(cell["value"]) for cell in row)) for name, row in grid["rows"]]
                title = f"{benchmark}, {view['measure']} by steps of training"
                parts.append(text_table(title, grid["header"], cells))
        parts.append("\n".join(view["notes"]))
    return "\n\n".join(parts)


def _view(found: Mapping[str, Any], benchmark: str) -> dict[str, Any]:
    """One benchmark: its groups with bars and cells, and the axis that all bars share."""
    scored = [
        (arm, score) for arm in found["arms"] for score in arm["scores"] if score["benchmark"] == benchmark
    ]
    several = found["trainings"] > 1
    columns = [at for at in range(len(_HEADER)) if several or at != _TRAININGS]
    whole = nice_ticks(0.0, max(max(score["high"], *score["trainings"]) for _, score in scored))[-1]
    groups: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for arm, score in scored:
        groups.setdefault(arm["group"], []).append((arm, score))
    measure = scored[0][1].get("measure") or "pass@1"
    return {
        "name": benchmark,
        "measure": measure,
        "whole": whole,
        "problems": scored[0][1]["problems"],
        "header": [measure if _HEADER[at] == "score" else _HEADER[at] for at in columns],
        "groups": [
            {
                "name": name,
                "grid": _grid(members),
                "arms": [
                    {
                        "name": arm["name"],
                        "bar": _bar(arm["name"], score, whole, "c0" if at else "muted"),
                        "value": score["value"],
                        "cells": [_cells(arm, score)[column] for column in columns],
                    }
                    for at, (arm, score) in enumerate(members)
                ],
            }
            for name, members in groups.items()
        ],
        "notes": _notes(found["trainings"], scored[0][1], measure),
    }


def _bar(name: str, score: Mapping[str, Any], whole: float, css: str) -> Markup:
    point = ScorePoint(0, name, score["value"], score["low"], score["high"])
    return interval_bar(point, whole, css, score["trainings"] if len(score["trainings"]) > 1 else ())


def _grid(members: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any] | None:
    """Return the grid of training sets (down) and steps (across); None for arms that are no grid."""
    if members[0][0]["steps"] is None:
        return None
    values = [score["value"] for _, score in members]
    least, span = min(values), (max(values) - min(values)) or 1.0
    rows: dict[str, list[dict[str, Any]]] = {}
    for arm, score in members:
        shade = round(10 + 50 * (score["value"] - least) / span)
        rows.setdefault(arm["data"], []).append({"value": score["value"], "shade": shade})
    steps = dict.fromkeys(arm["steps"] for arm, _ in members)
    return {"header": ("trained on", *(f"{number:,} steps" for number in steps)), "rows": list(rows.items())}


def _notes(trainings: int, score: Mapping[str, Any], measure: str) -> list[str]:
    """Say what the tests are, and the smallest difference in pass@1 that they can see."""
    test = f"{ONE_TRAINING}. Intervals and exact paired tests are over the problems."
    if trainings > 1:
        test = (
            f"{trainings} trainings an arm, which differ in their seed: means and intervals over them "
            "(Student's t), differences by Welch's t."
        )
    notes = [test, "p (Holm): in brackets corrected for the number of arms compared in the group."]
    if measure == "pass@1":  # of ratings it depends on the judge
        samples = score["n_samples"] // score["n_problems"]
        smallest = smallest_difference(score["value"], score["n_problems"], samples, trainings)
        of = "arms" if trainings > 1 else "two models"
        notes.append(
            f"The smallest difference seen in 80% of cases: {100 * smallest:.1f} points between {of}."
        )
    return notes


def _cells(arm: Mapping[str, Any], score: Mapping[str, Any]) -> Sequence[str]:
    compared = score["difference"] is not None
    return (
        arm["name"],
        f"{arm['rows']:,}",
        f"{arm['tokens']:,}",
        percent(score["value"]),
        f"{percent(score['low'])} – {percent(score['high'])}",
        " ".join(map(percent, score["trainings"])),
        f"{100 * score['difference']:+.1f}" if compared else "",
        f"{100 * score['difference_low']:+.1f} to {100 * score['difference_high']:+.1f}" if compared else "",
        re.sub("p = |p (?=<)", "", f"{p_value(score['p_value'])} ({p_value(score['p_adjusted'])})")
        if compared
        else "",
    )
