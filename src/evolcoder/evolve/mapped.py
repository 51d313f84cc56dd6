"""De-duplication and decontamination as work for an engine: what is done to a block of rows, by itself.

Sketching a text, counting n-grams and comparing rows with problems cost the most and know nothing of other
rows, so they are mapped. What depends on the order of rows (which of two copies came first) stays with the
driver, so the result is the same on any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from evolcoder.evolve.decontamination import ContaminationIndex, Hit, Learnt, ProblemText
from evolcoder.evolve.duplicates import Sketch, Text, batches, sketch_of
from evolcoder.execution.functions import FunctionWork
from evolcoder.records import Instruction

if TYPE_CHECKING:
    from evolcoder.execution.engine import Pool

ROWS_A_BLOCK = 32
"""Rows that travel together: some 100 KB, and tens of milliseconds of work."""


def sketch_work(near: bool) -> FunctionWork[Sequence[Text], Sketch]:
    """Return the work of sketching blocks of texts; `near` where similar texts count as copies."""
    return FunctionWork(partial(_sketcher, near))


def learning_work(problems: Sequence[ProblemText]) -> FunctionWork[Sequence[Instruction], Learnt]:
    """Return the work of counting the problems' n-grams in blocks of rows."""
    return FunctionWork(partial(_learner, problems))


def screening_work(
    problems: Sequence[ProblemText], learnt: Learnt
) -> FunctionWork[Sequence[Instruction], list[list[Hit]]]:
    """Return the work of finding the hits of each row of a block."""
    return FunctionWork(partial(_screener, problems, learnt))


def learn_on(
    pool: Pool[Sequence[Instruction], Learnt], index: ContaminationIndex, rows: Iterable[Instruction]
) -> None:
    """Have `index` learn from rows that are counted by a pool's workers."""
    for _, learnt in pool.run_many(enumerate(batches(rows, ROWS_A_BLOCK))):
        index.add(learnt)


def hits_on(
    pool: Pool[Sequence[Instruction], list[list[Hit]]], rows: Iterable[Instruction]
) -> Iterator[tuple[Instruction, list[Hit]]]:
    """Yield each row with its hits, in order."""
    waiting: list[Sequence[Instruction]] = []

    def noted() -> Iterator[Sequence[Instruction]]:
        for block in batches(rows, ROWS_A_BLOCK):
            waiting.append(block)
            yield block

    for found in pool.map(noted()):
        yield from zip(waiting.pop(0), found, strict=True)


def _sketcher(near: bool) -> Callable[[Sequence[Text]], Sketch]:
    return partial(sketch_of, near=near)


def _learner(problems: Sequence[ProblemText]) -> Callable[[Sequence[Instruction]], Learnt]:
    return ContaminationIndex(problems).counts


def _screener(
    problems: Sequence[ProblemText], learnt: Learnt
) -> Callable[[Sequence[Instruction]], list[list[Hit]]]:
    index = ContaminationIndex(problems)
    index.add(learnt)
    return lambda rows: [index.hits(row) for row in rows]
