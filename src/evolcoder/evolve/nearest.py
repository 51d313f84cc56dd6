"""Finds rows that mean the same as a benchmark problem in other words: nearest neighbours by embedding.

WizardCoder's own check (appendix C) takes the nearest training instructions of each problem by embedding and
lets a model judge them. Here every row whose similarity to a problem is at or above a threshold is a hit, and
a person judges from the report. Similarities differ by embedding model, so look at them first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from evolcoder.evolve.decontamination import Hit, hit_of
from evolcoder.evolve.duplicates import batches
from evolcoder.records import Instruction, ProblemText

if TYPE_CHECKING:
    from evolcoder.models.embedding import Embed

_ROWS_A_BATCH = 512


def nearest_hits(
    rows: Iterable[Instruction], problems: Sequence[ProblemText], embed: Embed, least: float
) -> Iterator[tuple[Instruction, list[Hit]]]:
    """Yield each row with the problem it is nearest to, if the cosine is at least `least`.

    Memory follows the problems. Raises what `embed` raises.
    """
    of_problems_PD = embed([problem.text for problem in problems])
    for batch in batches(rows, _ROWS_A_BATCH):
        of_rows_RD = embed([f"{row.instruction}\n{row.input}".strip() for row in batch])
        similarity_RP = of_rows_RD @ of_problems_PD.T
        for row, similarities in zip(batch, similarity_RP, strict=True):
            position = int(similarities.argmax())
            nearness = round(float(similarities[position]), 3)
            yield (
                row,
                [hit_of(row, problems[position], "embedding", similarity=nearness)]
                if nearness >= least
                else [],
            )
