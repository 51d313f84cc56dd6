"""Which instructions a round evolves, and which rows a training set is made of.

The pool begins as the seeds. After a round each instruction is replaced by what it evolved into; one whose
evolution was eliminated stays and is evolved again next round (WizardLM 3.2). Both are read as a stream from
the rounds' files, so that a pool of any size takes no memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path

from evolcoder.evolve.methods import fraction_of
from evolcoder.instructions import instruction_from_row
from evolcoder.records import Instruction
from evolcoder.runs import read_jsonl


def pool_after(
    seeds: Collection[Instruction], rounds: Sequence[Path], *, limit: int | None = None, seed: int = 0
) -> Iterator[Instruction]:
    """Return what the round after `rounds` evolves, in the order of the seeds; of `limit` trees at random."""
    if limit is not None and limit < len(seeds):
        chosen = heapq.nsmallest(limit, seeds, key=lambda row: (fraction_of("tree", seed, row.id), row.id))
        ids = {row.id for row in chosen}
        seeds = [row for row in seeds if row.id in ids]
    pool = iter(seeds)
    for folder in rounds:
        pool = _evolved_in_place(pool, evolved_rows(folder))
    return pool


def merged_rows(seeds: Collection[Instruction], rounds: Sequence[Path]) -> Iterator[Instruction]:
    """Yield the training set of the last round: the seeds and all evolved rows so far, round by round."""
    return chain(seeds, *(evolved_rows(folder) for folder in rounds))


def evolved_rows(folder: Path) -> Iterator[Instruction]:
    """Yield the rows that a round kept."""
    for _, row in read_jsonl(folder / "evolved.jsonl"):
        yield instruction_from_row(row)


def _evolved_in_place(pool: Iterator[Instruction], evolved: Iterator[Instruction]) -> Iterator[Instruction]:
    """Replace each instruction by its child, if it has one; both come in the order of the pool."""
    child = next(evolved, None)
    for parent in pool:
        if child is not None and child.lineage.parent_id == parent.id:
            yield child
            while child is not None and child.lineage.parent_id == parent.id:  # its further answers
                child = next(evolved, None)
        else:
            yield parent
