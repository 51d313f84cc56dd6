"""Decontaminates a data set, and writes a report that shows each hit beside its problem.

Counting n-grams and comparing rows with problems need no other rows, so they are mapped over an engine's
workers; the result is the same on any engine. A row that kills its workers on a cluster is set aside: it is
dropped, as it may be a copy, and only left out of the count.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evolcoder.evolve.decontamination import ContaminationIndex, Hit, Learnt, hit_of, hit_of_uncompared
from evolcoder.evolve.duplicates import batches
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.evolve_one import EvolvedRow
from evolcoder.evolve.row_files import RowWriter
from evolcoder.execution.engine import Engine, FunctionWork
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.progress import Progress
from evolcoder.records import Instruction, ProblemText
from evolcoder.runs import write_text_whole, writing_whole

if TYPE_CHECKING:
    from evolcoder.models.embedding import Embed

_log = logging.getLogger(__name__)
_ROWS_A_BLOCK = 32
"""Rows that travel together: some 100 KB, and tens of milliseconds of work."""
_EXCERPT = 1500


@dataclass(frozen=True, slots=True)
class Decontaminated:
    """What decontamination came to."""

    rows: int
    kept: int
    hits: tuple[Hit, ...]
    problems: int


def decontaminate(
    rows: Iterable[Instruction],
    problems: Sequence[ProblemText],
    out: Path | None,
    progress: Progress,
    engine: Engine = THIS_MACHINE,
    embed: Embed | None = None,
    similarity: float = 0.9,
) -> Decontaminated:
    """Go through `rows` twice: learn which n-grams are common, then find copies; clean rows go to `out`.

    With `embed`, a third time: a row as near to a problem as `similarity` is a copy too. Raises as `embed`.
    """

    def told(name: str, total: int | None) -> Iterable[Instruction]:
        with progress.bar(name, total) as bar:
            for row in rows:
                bar.advance()
                yield row

    hits: list[Hit] = []
    count = kept = 0
    with ExitStack() as held:
        common = told("learn common n-grams", None)
        screen = held.enter_context(closing(ContaminationScreen(problems, common, engine)))
        writer = None
        if out is not None:
            writer = held.enter_context(RowWriter(held.enter_context(writing_whole(out))))
        compared = screen.hits_of(told("look for copies", screen.rows_learnt))
        if embed is not None:
            neighbours = nearest_hits(told("embed", screen.rows_learnt), problems, embed, similarity)
            compared = _either(compared, neighbours)
        for row, found in compared:
            count += 1
            hits += found
            if not found:
                kept += 1
                if writer is not None:
                    writer.write(row)
    return Decontaminated(count, kept, tuple(hits), len(problems))


def _either(
    compared: Iterable[tuple[Instruction, list[Hit]]], neighbours: Iterable[tuple[Instruction, list[Hit]]]
) -> Iterator[tuple[Instruction, list[Hit]]]:
    """Join the hits of the same rows by two comparisons; a problem in both is named once, by its n-grams."""
    for (row, hits), (_, near) in zip(compared, neighbours, strict=True):
        known = {(hit.benchmark, hit.task_id) for hit in hits}
        yield row, [*hits, *(hit for hit in near if (hit.benchmark, hit.task_id) not in known)]


class ContaminationScreen:
    """Drops evolved rows that copy a problem, as they come, in order and before they are written."""

    def __init__(
        self,
        problems: Sequence[ProblemText],
        background: Iterable[Instruction],
        engine: Engine = THIS_MACHINE,
        compared: Callable[[str], str] | None = None,
    ) -> None:
        """Learn which n-grams are common from `background`; workers compare rows until `close`.

        `compared` returns what of a text counts; a function of a module, as workers are sent it.
        """
        index = ContaminationIndex(problems, compared)
        counting = FunctionWork(partial(_counter, problems, compared), given_up=_not_counted)
        with engine.open(counting) as counters:
            for _, learnt in counters.run_many(enumerate(batches(background, _ROWS_A_BLOCK))):
                index.add(learnt)
        self.rows_learnt = index.learnt.rows
        comparing = FunctionWork(partial(_comparer, problems, index.learnt, compared), given_up=_not_compared)
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(engine.open(comparing))

    def close(self) -> None:
        """Let the workers go."""
        self._stack.close()

    def hits_of(self, rows: Iterable[Instruction]) -> Iterator[tuple[Instruction, list[Hit]]]:
        """Yield each row with its hits, in order."""
        waiting: deque[Instruction] = deque()

        def noted() -> Iterator[Instruction]:
            for row in rows:
                waiting.append(row)
                yield row

        for found in self._pool.map(noted()):
            yield waiting.popleft(), found

    def __call__(self, candidates: Sequence[EvolvedRow]) -> Sequence[EvolvedRow]:
        """Return the same rows, copies among them eliminated."""
        looked_at = [row for c in candidates if c.elimination is None for row in (c.row, *c.more)]
        found = iter([hits for _, hits in self.hits_of(looked_at)])
        return [
            candidate if candidate.elimination is not None else self._screened(candidate, found)
            for candidate in candidates
        ]

    def _screened(self, candidate: EvolvedRow, found: Iterator[Sequence[Hit]]) -> EvolvedRow:
        hits = next(found)
        more = tuple(row for row, copied in zip(candidate.more, found) if not copied)  # noqa: B905
        if not hits:
            return replace(candidate, more=more)
        hit = hits[0]
        elimination = Elimination("contaminated", f"copies {hit.task_id} of {hit.benchmark} ({hit.how})")
        if hit.how == "set aside":
            elimination = Elimination("set aside", hit.problem_text)
        return replace(candidate, elimination=elimination, more=())


def _counter(
    problems: Sequence[ProblemText], compared: Callable[[str], str] | None
) -> Callable[[Sequence[Instruction]], Learnt]:
    return ContaminationIndex(problems, compared).counts


def _comparer(
    problems: Sequence[ProblemText], learnt: Learnt, compared: Callable[[str], str] | None
) -> Callable[[Instruction], list[Hit]]:
    index = ContaminationIndex(problems, compared)
    index.add(learnt)
    return index.hits


def _not_counted(rows: Sequence[Instruction], reason: str) -> Learnt:
    _log.warning("%d rows are left out of the count of common n-grams: %s", len(rows), reason)
    return Learnt(len(rows), {})


def _not_compared(row: Instruction, reason: str) -> list[Hit]:
    _log.warning("row %s cannot be compared with the benchmarks and is dropped: %s", row.id, reason)
    return [hit_of_uncompared(row, reason)]


REPORT_BEGINS = b"# Decontamination"


def write_contamination_report(path: Path, result: Decontaminated) -> None:
    """Write every hit beside its problem, as Markdown."""
    by_benchmark = Counter(hit.benchmark for hit in result.hits)
    lines = [
        REPORT_BEGINS.decode(),
        "",
        f"{result.rows} rows against {result.problems} problems: {result.rows - result.kept} rows copy one.",
        "",
        *(f"- {name}: {n} hits" for name, n in sorted(by_benchmark.items())),
    ]
    for hit in result.hits:
        lines += ["", f"## Row {hit.row_id}, {hit.benchmark} {hit.task_id}", ""]
        lines += [f"Found by {hit.how}: {measures_of(hit)}.", ""]
        lines += ["The row:", "", *_quoted(hit.row_text), ""]
        lines += ["The problem:", "", *_quoted(hit.problem_text)]
    write_text_whole(path, "\n".join(lines) + "\n")


def measures_of(hit: Hit) -> str:
    """Say in a few words how much of a problem a row holds."""
    if hit.how == "set aside":
        return hit.problem_text
    if hit.how == "embedding":
        return f"similarity {hit.similarity:.2f}"
    shares = f"text {hit.text_share:.0%}, code {hit.code_share:.0%}, examples {hit.examples_share:.0%}"
    return f"{shares} (weight of what matches: {hit.evidence:.0f})"


def _quoted(text: str) -> list[str]:
    return ["    " + line for line in text[:_EXCERPT].splitlines()]


_ROWS_A_BATCH = 512


def nearest_hits(
    rows: Iterable[Instruction], problems: Sequence[ProblemText], embed: Embed, least: float
) -> Iterator[tuple[Instruction, list[Hit]]]:
    """Yield each row with the problem nearest to it by embedding, if the cosine is at least `least`.

    WizardCoder's own check (appendix C) has a model judge such rows; here a person does. Raises as `embed`.
    """
    of_problems_PD = embed([problem.text for problem in problems])
    for batch in batches(rows, _ROWS_A_BATCH):
        of_rows_RD = embed([f"{row.instruction}\n{row.input}".strip() for row in batch])
        similarity_RP = of_rows_RD @ of_problems_PD.T
        for row, similarities in zip(batch, similarity_RP, strict=True):
            position = int(similarities.argmax())
            nearness = round(float(similarities[position]), 3)
            is_near = nearness >= least
            yield row, [hit_of(row, problems[position], "embedding", similarity=nearness)] if is_near else []
