"""De-duplication and decontamination as work for an execution engine: what is computed for a block of rows.

Sketching a text, counting n-grams and comparing rows with problems cost the most and need no other rows, so
they are mapped over blocks. What depends on the order of rows (which of two copies came first) is done by the
driver, so the result is the same on any engine.

A row that kills its workers on a cluster is set aside and the run continues: if it could be a copy of a
benchmark problem it is dropped, otherwise it only is left out of a count.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from evolcoder.evolve.decontamination import ContaminationIndex, Hit, Learnt, hit_of_uncompared
from evolcoder.evolve.duplicates import BANDS, PERMUTATIONS, Sketch, Text, batches, sketch_of
from evolcoder.execution.engine import FunctionWork
from evolcoder.records import Instruction, ProblemText

if TYPE_CHECKING:
    from evolcoder.execution.engine import Pool

_log = logging.getLogger(__name__)
ROWS_A_BLOCK = 32
"""Rows that travel together: some 100 KB, and tens of milliseconds of work."""


def sketch_work(near: bool) -> FunctionWork[Sequence[Text], Sketch]:
    """Return the work of sketching blocks of texts; `near` where similar texts count as copies."""
    return FunctionWork(partial(_sketcher, near), given_up=partial(_sketched_exactly, near))


Compared = Callable[[str], str] | None
"""Returns what of a text counts where rows are compared with problems; a function of a module, or None."""


def learning_work(
    problems: Sequence[ProblemText], compared: Compared = None
) -> FunctionWork[Sequence[Instruction], Learnt]:
    """Return the work of counting the problems' n-grams in blocks of rows."""
    return FunctionWork(partial(_learner, problems, compared), given_up=_not_counted)


def screening_work(
    problems: Sequence[ProblemText], learnt: Learnt, compared: Compared = None
) -> FunctionWork[Instruction, list[Hit]]:
    """Return the work of finding the hits of a row."""
    return FunctionWork(partial(_screener, problems, learnt, compared), given_up=_not_compared)


def learn_on(
    pool: Pool[Sequence[Instruction], Learnt], index: ContaminationIndex, rows: Iterable[Instruction]
) -> None:
    """Have `index` learn from rows that are counted by a pool's workers."""
    for _, learnt in pool.run_many(enumerate(batches(rows, ROWS_A_BLOCK))):
        index.add(learnt)


def hits_on(
    pool: Pool[Instruction, list[Hit]], rows: Iterable[Instruction]
) -> Iterator[tuple[Instruction, list[Hit]]]:
    """Yield each row with its hits, in order."""
    waiting: deque[Instruction] = deque()

    def noted() -> Iterator[Instruction]:
        for row in rows:
            waiting.append(row)
            yield row

    for found in pool.map(noted()):
        yield waiting.popleft(), found


def _sketcher(near: bool) -> Callable[[Sequence[Text]], Sketch]:
    return partial(sketch_of, near=near)


def _learner(
    problems: Sequence[ProblemText], compared: Compared
) -> Callable[[Sequence[Instruction]], Learnt]:
    return ContaminationIndex(problems, compared=compared).counts


def _screener(
    problems: Sequence[ProblemText], learnt: Learnt, compared: Compared
) -> Callable[[Instruction], list[Hit]]:
    index = ContaminationIndex(problems, compared=compared)
    index.add(learnt)
    return index.hits


def _sketched_exactly(near: bool, texts: Sequence[Text], reason: str) -> Sketch:
    """Sketch texts so that only exact copies of them are found, in the form of the others' sketches."""
    import numpy as np

    _log.warning("%d rows are looked for as exact copies only: %s", len(texts), reason)
    exact = sketch_of(texts, near=False)
    if not near:
        return exact
    # A key that an exact copy shares, and nothing else, in place of each band's.
    bands = np.repeat(exact.keys, BANDS, axis=1) ^ np.arange(1, BANDS + 1, dtype=np.uint64)
    keys = np.concatenate([exact.keys, bands], axis=1)
    return Sketch(keys, np.zeros((len(texts), PERMUTATIONS), dtype=np.uint8), exact.trees)


def _not_counted(rows: Sequence[Instruction], reason: str) -> Learnt:
    _log.warning("%d rows are left out of the count of common n-grams: %s", len(rows), reason)
    return Learnt(len(rows), {})


def _not_compared(row: Instruction, reason: str) -> list[Hit]:
    _log.warning("row %s cannot be compared with the benchmarks and is dropped: %s", row.id, reason)
    return [hit_of_uncompared(row, reason)]
