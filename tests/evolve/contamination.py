"""Hits of a few rows, in one call."""

from collections.abc import Sequence

from evolcoder.evolve.decontamination import ContaminationIndex, Hit
from evolcoder.records import Instruction, ProblemText


def find_contamination(rows: Sequence[Instruction], problems: Sequence[ProblemText]) -> list[Hit]:
    index = ContaminationIndex(problems)
    index.learn(rows)
    return [hit for row in rows for hit in index.hits(row)]
