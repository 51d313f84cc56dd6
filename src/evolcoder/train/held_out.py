"""Rows held out of training, and the loss on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evolcoder.errors import DataError
from evolcoder.records import Instruction


def split_held_out(
    data: Sequence[Instruction], n_rows: int, seed: int
) -> tuple[list[Instruction], list[Instruction]]:
    """Return (rows to train on, rows held out): whole families, drawn by `seed`, until `n_rows` are out.

    A family is a seed with everything evolved from it: what came of a held-out seed resembles it and would
    give the answer away. Raises DataError where nothing would be left to train on.
    """
    families: dict[str, list[int]] = {}
    for i, row in enumerate(data):
        families.setdefault(row.lineage.seed_id, []).append(i)
    names = list(families)
    held: set[int] = set()
    for k in np.random.default_rng(seed).permutation(len(names)):
        if len(held) >= n_rows:
            break
        held.update(families[names[int(k)]])
    if len(held) == len(data):
        raise DataError(
            f"eval_rows: {n_rows} of {len(data)} rows in {len(names)} families leave nothing to train on; "
            "fewer are expected"
        )
    return [row for i, row in enumerate(data) if i not in held], [data[i] for i in sorted(held)]
