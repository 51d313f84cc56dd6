"""The data section of the report: kept and eliminated rows, methods, lengths, similarity to the parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evolcoder.report.charts import Segment, nice_ticks, spread_bar, stacked_bar
from evolcoder.report.rows import RoundRows
from evolcoder.report.run_folder import Round
from evolcoder.report.table import round_name

_COLORS = 9
"""Colours c1 to c9 for reasons and methods; c0 is for what was kept."""
VERDICT_COLORS = {
    "passed": "pass", "failed": "c8", "timeout": "c1", "syntax error": "c3", "crashed": "c6", "memory": "c4",
    "forbidden": "c7", "exited": "c5", "unsupported": "c9", "infrastructure": "c2",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BarTable:
    """A stacked bar a round, with a legend and the same numbers for a table."""

    legend: tuple[tuple[str, str], ...]
    """(name, css class), the most frequent first."""
    bars: tuple[tuple[str, Markup, int], ...]
    """(round's name, the bar, what the bar adds up to)."""
    numbers: tuple[tuple[str, tuple[int, ...]], ...]
    """(name, a number a round), in the order of the legend."""


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One line of the way from the instructions asked for to the rows kept."""

    name: str
    sign: str
    """"" for rows that are there at this point, "−" for rows that went, "·" for a part of those there."""
    counts: tuple[int, ...]
    """A number a round."""


def data_section(rounds: Sequence[Round], rows: Sequence[RoundRows]) -> dict[str, Any]:
    """Return what the data section shows, from the rounds' summaries and their scanned rows.

    `steps` are the funnel in numbers, of the rounds `evolved`; `length_axis` is how many characters the full
    width of a length bar stands for.
    """
    evolved = [round_ for round_ in rounds if round_.number > 0]
    shown = [row for row in rows if row.round in {round_.number for round_ in rounds} | {0}]
    funnel = {round_name(r.number): _funnel_counts(r) for r in evolved if r.summary}
    methods = {
        round_name(row.round): dict(_summary_methods(evolved, row.round) or row.methods)
        for row in shown
        if row.round > 0
    }
    spreads = [row.instruction for row in shown if row.instruction]
    axis = nice_ticks(0.0, max((spread.p95 for spread in spreads), default=1.0))[-1]
    return {
        "funnel": bar_table(funnel, {"kept": "c0"}),
        "steps": _steps(evolved, shown),
        "methods": bar_table(methods, {}),
        "lengths": [(row, spread_bar(row.instruction, axis)) for row in shown if row.instruction],
        "length_axis": axis,
        "rows": shown,
        "evolved": [round_.number for round_ in evolved if round_.summary],
    }


def bar_table(counts: Mapping[str, Mapping[str, int]], colors: Mapping[str, str]) -> BarTable | None:
    """Make stacked bars of counts by round, names in `colors` first, then by frequency; None for none."""
    totals = Counter[str]()
    for round_counts in counts.values():
        totals.update(round_counts)
    if not totals.total():
        return None
    fixed = [name for name in colors if totals[name]]
    free = [name for name, count in totals.most_common() if name not in colors and count]
    css = {name: colors[name] for name in fixed}
    css |= {name: f"c{1 + i % _COLORS}" for i, name in enumerate(free)}
    widest = max(sum(round_counts.values()) for round_counts in counts.values())
    bars = []
    for label, round_counts in counts.items():
        whole = sum(round_counts.values())
        segments = [Segment(_words(name), round_counts.get(name, 0), css[name]) for name in css]
        bars.append((label, stacked_bar(segments, widest), whole))
    return BarTable(
        legend=tuple((_words(name), css[name]) for name in css),
        bars=tuple(bars),
        numbers=tuple((_words(name), tuple(c.get(name, 0) for c in counts.values())) for name in css),
    )


def _funnel_counts(round_: Round) -> dict[str, int]:
    summary = round_.summary
    counts = {"kept": int(summary.get("kept") or 0)}
    counts |= {str(reason): int(count) for reason, count in (summary.get("eliminated") or {}).items()}
    open_ = int(summary.get("asked") or 0) - sum(counts.values())
    return counts | ({"not finished": open_} if open_ > 0 else {})


_EXECUTED = ("syntax error", "failed tests")
_LOOKED_FOR = ("duplicate", "contaminated")
"""What is looked for once an answer stands; every other reason is a rule of elimination."""


def _steps(rounds: Sequence[Round], rows: Sequence[RoundRows]) -> list[FunnelStep]:
    """Return asked, less what the rules drop, less what execution drops, less copies: kept."""
    told = [round_ for round_ in rounds if round_.summary]
    if not told:
        return []
    dropped = [{str(k): int(v) for k, v in (r.summary.get("eliminated") or {}).items()} for r in told]
    verdicts = {row.round: row.verdicts for row in rows}
    executed = [verdicts.get(round_.number, {}) for round_ in told]
    reasons = dict.fromkeys(reason for counts in dropped for reason in counts)
    rules = [reason for reason in reasons if reason not in (*_EXECUTED, *_LOOKED_FOR)]
    left = [int(round_.summary.get("asked") or 0) for round_ in told]
    steps = [FunnelStep("asked", "", tuple(left))]

    def drop(names: Sequence[str]) -> None:
        for name in names:
            counts = tuple(round_counts.get(name, 0) for round_counts in dropped)
            steps.append(FunnelStep(_words(name), "−", counts))
            left[:] = [rest - count for rest, count in zip(left, counts, strict=True)]

    drop(rules)
    if any(executed) or any(name in reasons for name in _EXECUTED):
        steps.append(FunnelStep("left to be executed", "", tuple(left)))
        drop([name for name in _EXECUTED if name in reasons])
        for state in dict.fromkeys(state for counts in executed for state in counts):
            counts = tuple(round_counts.get(state, 0) for round_counts in executed)
            steps.append(FunnelStep(f"of the kept: {_words(state)}", "·", counts))
    steps.append(FunnelStep("left to be looked up", "", tuple(left)))
    # These two are asked of every row, so a zero says that there was none.
    drop(_LOOKED_FOR)
    steps.append(FunnelStep("kept", "", tuple(int(round_.summary.get("kept") or 0) for round_ in told)))
    return steps


def _summary_methods(rounds: Sequence[Round], number: int) -> Mapping[str, int]:
    methods = next((r.summary.get("methods") for r in rounds if r.number == number), None)
    return methods if isinstance(methods, Mapping) else {}


def _words(name: str) -> str:
    return name.replace("_", " ")
