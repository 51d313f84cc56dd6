"""Decontaminates a data set, and writes a report that shows each hit beside its problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from evolcoder.evolve.decontamination import ContaminationIndex, Hit, ProblemText
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.one_row import Fate
from evolcoder.evolve.row_files import RowWriter
from evolcoder.progress import Progress
from evolcoder.records import Instruction
from evolcoder.runs import write_text_whole, writing_whole

_EXCERPT = 1500


@dataclass(frozen=True, slots=True)
class Decontaminated:
    """What decontamination came to."""

    rows: int
    kept: int
    hits: tuple[Hit, ...]
    problems: int


def decontaminate(
    rows: Iterable[Instruction], problems: Sequence[ProblemText], out: Path | None, progress: Progress
) -> Decontaminated:
    """Go through `rows` twice: learn which n-grams are common, then find copies; clean rows go to `out`."""
    index = ContaminationIndex(problems)
    count = 0

    def told(name: str, total: int | None) -> Iterable[Instruction]:
        with progress.bar(name, total) as bar:
            for row in rows:
                bar.advance()
                yield row

    index.learn(told("learn common n-grams", None))
    hits: list[Hit] = []
    kept = 0
    with ExitStack() as files:
        writer = None
        if out is not None:
            writer = RowWriter(files.enter_context(writing_whole(out)))
            files.callback(writer.close)
        for row in told("look for copies", index.rows_learnt):
            count += 1
            found = index.hits(row)
            hits += found
            if not found:
                kept += 1
                if writer is not None:
                    writer.write(row)
    return Decontaminated(count, kept, tuple(hits), len(problems))


class ContaminationScreen:
    """Drops evolved rows that copy a problem, as they come; implements `FateFilter`."""

    def __init__(self, problems: Sequence[ProblemText], background: Iterable[Instruction]) -> None:
        self._index = ContaminationIndex(problems)
        self._index.learn(background)

    def __call__(self, fates: Sequence[Fate]) -> Sequence[Fate]:
        """Return the same rows, copies among them eliminated."""
        return [self._screened(fate) for fate in fates]

    def _screened(self, fate: Fate) -> Fate:
        if fate.elimination is not None or not (hits := self._index.hits(fate.row)):
            return fate
        hit = hits[0]
        detail = f"copies {hit.task_id} of {hit.benchmark} ({hit.how})"
        return Fate(fate.row, Elimination("contaminated", detail), fate.spent)


def write_contamination_report(path: Path, result: Decontaminated) -> None:
    """Write every hit beside its problem, as Markdown."""
    by_benchmark = Counter(hit.benchmark for hit in result.hits)
    lines = [
        "# Decontamination",
        "",
        f"{result.rows} rows against {result.problems} problems: {result.rows - result.kept} rows copy one.",
        "",
        *(f"- {name}: {n} hits" for name, n in sorted(by_benchmark.items())),
    ]
    for hit in result.hits:
        lines += [
            "",
            f"## Row {hit.row_id}, {hit.benchmark} {hit.task_id}",
            "",
            f"Found by {hit.how}: {hit.text_share:.0%} of the text, {hit.code_share:.0%} of the code.",
            "",
            "The row:",
            "",
            *_quoted(hit.row_text),
            "",
            "The problem:",
            "",
            *_quoted(hit.problem_text),
        ]
    write_text_whole(path, "\n".join(lines) + "\n")


def _quoted(text: str) -> list[str]:
    return ["    " + line for line in text[:_EXCERPT].splitlines()]
