"""The table that ends a run: the base model and every round, in plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolcoder.records import SEEDS_ROUND

_HEADER = ("model", "training rows", "pass@1", "95% interval", "against base")


def scores_table(result: Mapping[str, Any]) -> str:
    """Return the table of `result.json` as text: a line a round, the best one marked, then why it stopped.

    Rounds without a score (not measured yet) are shown with a dash. The text ends without a newline.
    """
    rounds: Sequence[Mapping[str, Any]] = result.get("rounds") or []
    best = result.get("best_round")
    base = next((entry.get("value") for entry in rounds if entry.get("round") == 0), None)
    rows = [_cells(entry, base, best) for entry in rounds]
    benchmark = result.get("benchmark")
    title = f"scores on {benchmark}{_subset(result)}" if benchmark else ""
    return "\n".join([text_table(title, _HEADER, rows), *_closing_lines(result)])


def text_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: a title ("" for none), a header, a line a row; the first column stands left."""
    # A row with nothing after its name is a heading over the rows below it, and sets no width.
    sized = [row for row in [header, *rows] if any(row[1:])]
    widths = [max(len(row[column]) for row in sized) for column in range(len(header))]
    lines = [_line(header, widths), _line(tuple("─" * width for width in widths), widths)]
    return "\n".join([*([title] if title else []), *lines, *(_line(row, widths) for row in rows)])


def _subset(result: Mapping[str, Any]) -> str:
    measured, in_all = result.get("problems"), result.get("problems_in_all")
    if not measured or not in_all or measured == in_all:
        return ""
    return f", a fixed subset of {measured} of its {in_all} problems"


def round_name(number: int) -> str:
    """Return what a reader calls round `number`: "base" for 0, "seeds" for SEEDS_ROUND, else "round N"."""
    return {0: "base", SEEDS_ROUND: "seeds"}.get(number, f"round {number}")


def percent(value: float) -> str:
    """Return a fraction as a percentage with one decimal place and no sign, e.g. "59.8"."""
    return f"{100 * value:.1f}"


def _cells(entry: Mapping[str, Any], base: float | None, best: int | None) -> tuple[str, ...]:
    number, value = int(entry["round"]), entry.get("value")
    name = round_name(number) + (" *" if number == best else "")
    rows = entry.get("rows")
    shown_rows = f"{int(rows):,}" if rows else "–"
    if value is None:
        return (name, shown_rows, "–", "–", "")
    low, high = entry.get("low"), entry.get("high")
    interval = "–" if low is None or high is None else f"{percent(low)} – {percent(high)}"
    change = "" if number == 0 or base is None else f"{100 * (value - base):+.1f}"
    return (name, shown_rows, percent(value), interval, change)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The name stands left, every number right."""
    first, *rest = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "   ".join([first, *rest]).rstrip()


def _closing_lines(result: Mapping[str, Any]) -> list[str]:
    lines = []
    if result.get("best_round") is not None:
        lines.append(f"* best: {round_name(int(result['best_round']))}")
    stop = result.get("stop") or {}
    if stop.get("reason"):
        lines.append(f"stopped: {stop['reason']}")
    if result.get("notice"):
        lines.append(f"notice: {result['notice']}")
    return lines
