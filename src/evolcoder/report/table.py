"""The table that ends a run: the base model and every round, in plain text."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from evolcoder.records import REINFORCED_ROUND, SEEDS_ROUND

_HEADER = ("model", "training rows", "pass@1", "95% interval", "against base")


def scores_table(result: Mapping[str, Any]) -> str:
    """Return the table of `result.json`: a line a round, a dash without a score, then why it stopped."""
    rounds: Sequence[Mapping[str, Any]] = result.get("rounds") or []
    best = result.get("best_round")
    base = next((entry.get("value") for entry in rounds if entry.get("round") == 0), None)
    rows = [_cells(entry, base, best) for entry in rounds]
    benchmark = result.get("benchmark")
    title = f"scores on {benchmark}{_subset(result)}" if benchmark else ""
    header = [str(result.get("measure", name)) if name == "pass@1" else name for name in _HEADER]
    return "\n".join([text_table(title, header, rows), *_closing_lines(result)])


def text_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: a title ("" for none), a header, a line a row; the first column stands left."""
    lines = aligned([header, *rows], range(1, len(header)), "   ")
    return "\n".join([title, *lines] if title else lines)


def aligned(rows: Sequence[Sequence[str]], right: Container[int], gap: str = "  ") -> list[str]:
    """Return rows as lines, with a rule under the first; the columns `right` are set right.

    A row with nothing after its first cell is a heading over the rows below it, and sets no width.
    """
    sized = [row for row in rows if any(row[1:])]
    widths = [max(len(row[column]) for row in sized) for column in range(len(rows[0]))]
    lines = [
        gap.join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], gap.join("─" * width for width in widths), *lines[1:]]


def _subset(result: Mapping[str, Any]) -> str:
    measured, in_all = result.get("problems"), result.get("problems_in_all")
    if not measured or not in_all or measured == in_all:
        return ""
    return f", {measured} of its {in_all} problems"


def round_name(number: int) -> str:
    """Return what a reader calls round `number`: "base" for 0, "seeds", "reinforced", else "round N"."""
    names = {0: "base", SEEDS_ROUND: "seeds", REINFORCED_ROUND: "reinforced"}
    return names.get(number, f"round {number}")


def p_value(p: float) -> str:
    """Return a p value as it is written: "p = 0.38", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


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


def _closing_lines(result: Mapping[str, Any]) -> list[str]:
    lines = []
    if result.get("best_round") is not None:
        kept = "the last, kept" if result.get("keep") == "last" else "best"
        lines.append(f"* {kept}: {round_name(int(result['best_round']))}")
    if change := result.get("against_base"):
        lines.append(
            f"against the base model: {change['gained']} gained, {change['lost']} lost of the problems, "
            f"{p_value(change['p_value'])} (exact test over the problems of this one training)"
        )
    stop = result.get("stop") or {}
    if stop.get("reason"):
        lines.append(f"stopped: {stop['reason']}")
    if result.get("notice"):
        lines.append(f"notice: {result['notice']}")
    return lines
