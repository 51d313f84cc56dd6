"""Statistics of a data set: counts, samples, the tree of one seed."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evolcoder.errors import UserError
from evolcoder.evolve.methods import fraction_of
from evolcoder.records import Instruction

_WIDTH = 100
"""Characters of an instruction in a tree."""


@dataclass(slots=True)
class DataStats:
    """Counts of a data set."""

    rows: int = 0
    trees: int = 0
    """Different seeds at the roots of the rows."""
    rounds: dict[int, int] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    teachers: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    """Seeds made of code, by repository and commit."""
    licences: dict[str, int] = field(default_factory=dict)
    """Seeds that name a licence of their own, by it."""
    instruction_chars: dict[int, float] = field(default_factory=dict)
    """Mean length of an instruction by round."""
    response_chars: dict[int, float] = field(default_factory=dict)
    """Mean length of a response by round."""
    without_response: int = 0
    usd: float = 0.0
    tokens: int = 0


def stats_of_rows(rows: Iterable[Instruction]) -> DataStats:
    """Count a data set in one pass."""
    stats = DataStats()
    trees: set[str] = set()
    rounds, asked, answered = Counter[int](), Counter[int](), Counter[int]()
    methods, teachers, verdicts, sources, licences = (Counter[str]() for _ in range(5))
    for row in rows:
        lineage, extra = row.lineage, row.extra
        stats.rows += 1
        trees.add(lineage.seed_id)
        rounds[lineage.round] += 1
        asked[lineage.round] += len(row.instruction) + len(row.input)
        answered[lineage.round] += len(row.response)
        methods[lineage.method or "seed"] += 1
        teachers[lineage.teacher or "none"] += 1
        if extra.get("verdict"):
            verdicts[str(extra["verdict"])] += 1
        if lineage.round == 0 and extra.get("license"):
            licences[str(extra["license"])] += 1
            if extra.get("repository"):
                sources[f"{extra['repository']} {str(extra.get('commit') or '')[:12]}".strip()] += 1
        stats.without_response += not row.response.strip()
        stats.usd += _number(row, "cost_usd")
        stats.tokens += int(_number(row, "prompt_tokens") + _number(row, "completion_tokens"))
    stats.trees, stats.rounds = len(trees), dict(sorted(rounds.items()))
    stats.methods, stats.teachers, stats.verdicts, stats.sources, stats.licences = (
        dict(counts.most_common()) for counts in (methods, teachers, verdicts, sources, licences)
    )
    stats.instruction_chars = {r: round(asked[r] / n, 1) for r, n in stats.rounds.items()}
    stats.response_chars = {r: round(answered[r] / n, 1) for r, n in stats.rounds.items()}
    return stats


def _number(row: Instruction, name: str) -> float:
    """Return a number that evolution wrote; a seed's column of the same name is another's, and counts 0."""
    value = row.extra.get(name) if row.lineage.teacher is not None else None
    return value if isinstance(value, (int, float)) and math.isfinite(value) else 0


def sample_rows(rows: Iterable[Instruction], n: int, seed: int) -> list[Instruction]:
    """Return `n` rows at random, the same ones for the same `seed`, in one pass."""
    keyed = ((fraction_of("sample", seed, row.id, i), i, row) for i, row in enumerate(rows))
    return [row for _, _, row in sorted(heapq.nsmallest(n, keyed), key=lambda item: item[1])]


def tree_of(rows: Iterable[Instruction], row_id: str) -> list[Instruction]:
    """Return the tree of an id or its beginning, by round; raises UserError for none, or several."""
    rows = list(rows)
    named = {row.lineage.seed_id for row in rows if row.id.startswith(row_id)}
    if not named:
        raise UserError(f"no row's id begins with {row_id!r}")
    if len(named) > 1:
        raise UserError(f"{row_id!r} begins the ids of {len(named)} trees; give more of it")
    (seed_id,) = named
    return sorted((row for row in rows if row.lineage.seed_id == seed_id), key=lambda row: row.lineage.round)


def tree_lines(tree: Sequence[Instruction]) -> list[str]:
    """Return a tree as indented lines, children under their parents."""
    children: dict[str | None, list[Instruction]] = {}
    ids = {row.id for row in tree}
    for row in tree:
        parent = row.lineage.parent_id if row.lineage.parent_id in ids else None
        children.setdefault(parent, []).append(row)
    lines: list[str] = []

    def draw(row: Instruction, depth: int) -> None:
        how = f"round {row.lineage.round}, {row.lineage.method}" if row.lineage.method else "seed"
        indent = "   " * depth + ("└─ " if depth else "")
        lines.append(f"{indent}{row.id}  [{how}]{_source(row)}")
        text = " ".join(row.instruction.split())
        lines.append("   " * (depth + 1) + (text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"))
        for child in children.get(row.id, []):
            draw(child, depth + 1)

    for root in children.get(None, []):
        draw(root, 0)
    return lines


def _source(row: Instruction) -> str:
    """Return the place in a code base that a seed was made from, with its licence."""
    named = [str(row.extra.get(name) or "") for name in ("repository", "file", "lines", "license")]
    if row.lineage.round or not all(named):
        return ""
    return f"  {named[0]}/{named[1]}:{named[2]} ({named[3]})"


def table_lines(title: str, counts: Mapping[Any, Any]) -> list[str]:
    """Return a small table of counts."""
    return [f"{title}:", *(f"  {name!s:<20} {count}" for name, count in counts.items())]
