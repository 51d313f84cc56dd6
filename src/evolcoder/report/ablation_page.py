"""An ablation as one HTML file (a plot of all arms, a table with intervals) and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evolcoder import __version__
from evolcoder.errors import DataError
from evolcoder.report.charts import ScorePoint, interval_bar
from evolcoder.report.svg import nice_ticks
from evolcoder.report.table import percent, text_table
from evolcoder.report.templating import p_value, template
from evolcoder.runs import write_text_whole

ABLATION_NAME = "ablation.html"
_HEADER = ("arm", "rows", "tokens", "pass@1", "95% interval", "difference", "95% interval", "exact test")


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
            rows.append((f"{group['name']}:", *[""] * (len(_HEADER) - 1)))
            rows += [tuple(arm["cells"]) for arm in group["arms"]]
        title = f"{benchmark}, problems: {view['problems']}; differences: against the first arm of a group"
        parts.append(text_table(title, _HEADER, rows))
    return "\n\n".join(parts)


def _view(found: Mapping[str, Any], benchmark: str) -> dict[str, Any]:
    """One benchmark: its groups with bars and cells, and the axis that all bars share."""
    scored = [
        (arm, score) for arm in found["arms"] for score in arm["scores"] if score["benchmark"] == benchmark
    ]
    whole = nice_ticks(0.0, max(score["high"] for _, score in scored))[-1]
    groups: dict[str, list[dict[str, Any]]] = {}
    for arm, score in scored:
        point = ScorePoint(0, arm["name"], score["value"], score["low"], score["high"])
        first = not groups.get(arm["group"])
        groups.setdefault(arm["group"], []).append(
            {
                "name": arm["name"],
                "bar": interval_bar(point, whole, "muted" if first else "c0"),
                "value": score["value"],
                "cells": _cells(arm, score),
            }
        )
    return {
        "name": benchmark,
        "whole": whole,
        "problems": scored[0][1]["problems"],
        "header": _HEADER,
        "groups": [{"name": name, "arms": arms} for name, arms in groups.items()],
    }


def _cells(arm: Mapping[str, Any], score: Mapping[str, Any]) -> Sequence[str]:
    compared = score["difference"] is not None
    return (
        arm["name"],
        f"{arm['rows']:,}",
        f"{arm['tokens']:,}",
        percent(score["value"]),
        f"{percent(score['low'])} – {percent(score['high'])}",
        f"{100 * score['difference']:+.1f}" if compared else "",
        f"{100 * score['difference_low']:+.1f} to {100 * score['difference_high']:+.1f}" if compared else "",
        p_value(score["p_value"]) if compared else "",
    )
