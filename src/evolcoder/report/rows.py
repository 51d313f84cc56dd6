"""The data sets of a run, streamed: counts, lengths, and where each row stands in its file.

A run may hold hundreds of thousands of rows. One pass a file keeps a row's id, its parent and its place (some
hundred bytes); texts are read again by place for the few rows that are shown or sampled.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from evolcoder.errors import DataError
from evolcoder.report.run_folder import Round, Run

SIMILARITY_SAMPLE = 1000
"""Rows a round whose words are compared with their parents'; the mean then errs by under 0.01."""


class Place(NamedTuple):
    """Where a row stands, and whose child it is."""

    round: int
    """0 for a seed."""
    offset: int
    """Byte offset of its line in the round's file."""
    parent: str | None


@dataclass(frozen=True, slots=True)
class Spread:
    """How a length is spread over the rows of a round."""

    mean: float
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


@dataclass(frozen=True, slots=True)
class RoundRows:
    """What is known of the rows that one round made (the seeds are round 0)."""

    round: int
    count: int
    instruction: Spread | None
    """Characters of the instructions; None without rows."""
    response: Spread | None
    """Characters of the responses; None without rows."""
    methods: Mapping[str, int]
    verdicts: Mapping[str, int]
    """Rows by what came of executing their answer; empty where none was executed."""
    similarity: float | None
    """Mean share of words that an instruction has in common with its parent (Jaccard); None for seeds."""


@dataclass(slots=True)
class RowIndex:
    """Every row of a run by id, and the files that hold them."""

    places: dict[str, Place] = field(default_factory=dict)
    files: dict[int, Path] = field(default_factory=dict)
    """The file of each round."""

    def row(self, place: Place) -> dict[str, Any]:
        """Read one row again."""
        with self.files[place.round].open("rb") as f:
            f.seek(place.offset)
            return parse_row(f.readline())

    def chain(self, id_: str) -> list[Place]:
        """Return the places of a row and its ancestors, eldest first; ends at a parent that is not there."""
        chain: list[Place] = []
        place = self.places.get(id_)
        while place is not None and place not in chain:
            chain.append(place)
            place = self.places.get(place.parent) if place.parent else None
        return chain[::-1]


def scan_rows(run: Run, rounds: Sequence[Round]) -> tuple[RowIndex, list[RoundRows]]:
    """Read seeds and rows of `rounds` once; return the index and what each made; raises DataError."""
    index = RowIndex()
    files = {0: run.seeds, **{round_.number: round_.evolved for round_ in rounds if round_.number > 0}}
    rows = []
    for number, path in files.items():
        if path is not None:
            index.files[number] = path
            rows.append(_scan_file(index, number, path))
    return index, rows


def numbered_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (byte offset, row) of a JSONL file that evolcoder wrote."""
    offset = 0
    with path.open("rb") as f:
        for number, line in enumerate(f, 1):
            if line.strip():
                try:
                    yield offset, parse_row(line)
                except ValueError as error:
                    raise DataError(f"{path}: line {number}: not a JSON object ({error})") from error
            offset += len(line)


def _scan_file(index: RowIndex, number: int, path: Path) -> RoundRows:
    instruction_chars, response_chars = array("I"), array("I")
    methods: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    ids: list[str] = []
    for offset, row in numbered_rows(path):
        id_, parent = str(row.get("id")), row.get("parent_id")
        index.places[id_] = Place(number, offset, sys.intern(str(parent)) if parent else None)
        ids.append(id_)
        instruction_chars.append(len(row.get("instruction") or ""))
        response_chars.append(len(row.get("response") or ""))
        if row.get("method"):
            methods[str(row["method"])] += 1
        if row.get("verdict"):
            verdicts[str(row["verdict"])] += 1
    similarity = _similarity(index, ids) if number > 0 else None
    return RoundRows(
        round=number,
        count=len(ids),
        instruction=_spread(instruction_chars),
        response=_spread(response_chars),
        methods=dict(methods),
        verdicts=dict(verdicts),
        similarity=similarity,
    )


def _similarity(index: RowIndex, ids: Sequence[str]) -> float | None:
    """Return the mean word overlap of evenly spaced rows with their parents."""
    step = max(1, len(ids) // SIMILARITY_SAMPLE)
    overlaps = []
    for id_ in ids[::step]:
        place = index.places[id_]
        parent = index.places.get(place.parent) if place.parent else None
        if parent is not None:
            own, inherited = _words(index.row(place)), _words(index.row(parent))
            if union := own | inherited:
                overlaps.append(len(own & inherited) / len(union))
    return float(np.mean(overlaps)) if overlaps else None


def _words(row: Mapping[str, Any]) -> set[str]:
    return set(str(row.get("instruction") or "").lower().split())


def _spread(lengths: array[int]) -> Spread | None:
    if not lengths:
        return None
    values = np.sort(np.frombuffer(lengths, dtype=np.uint32))
    # As np.percentile does, which imports numpy.ma: a tenth of a small report's time.
    places = np.array((0.05, 0.25, 0.5, 0.75, 0.95)) * (len(values) - 1)
    p5, p25, p50, p75, p95 = np.interp(places, np.arange(len(values)), values).tolist()
    return Spread(float(values.mean()), p5, p25, p50, p75, p95)


def parse_row(line: bytes) -> dict[str, Any]:
    """Parse one line by orjson, by json what it refuses (NaN, lone surrogates); ValueError for no object."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"found {type(row).__name__}")
    return row
