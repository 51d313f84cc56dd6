"""The rows of a run, found by filter, page by page: seeds, kept and eliminated rows of every round.

One pass over the files keeps a few numbers a row (about 44 bytes); texts are read again by place for the
rows of the page shown, and gone through once, line by line, where a text is searched.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evolcoder.report.rows import numbered_rows, parse_row
from evolcoder.report.run_folder import Run

Kind = Literal["seed", "kept", "eliminated"]
KINDS: tuple[Kind, ...] = ("seed", "kept", "eliminated")
SEARCHED = ("id", "instruction", "input", "response", "detail")
"""Fields that a text search looks into."""
_PLAIN = re.compile(r"[ !#-.0-\[\]-~]+")
"""ASCII that JSON writes as it is: a line without it holds no text with it."""
_SEARCHES_KEPT = 8


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows to show; None or "" asks for nothing."""

    round: int | None = None
    kind: Kind | None = None
    method: str | None = None
    reason: str | None = None
    """Why a row was eliminated."""
    verdict: str | None = None
    """What executing its answer gave, where it was executed."""
    text: str = ""
    """Found in any of `SEARCHED`, whatever the case of its letters."""


class FoundRow(NamedTuple):
    """One row with its number in the run."""

    number: int
    kind: Kind
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowPage:
    """One page of the rows that a filter leaves."""

    total: int
    """Rows that the filter leaves."""
    first: int
    """Position of the first row shown among them, from 0."""
    rows: tuple[FoundRow, ...]


@dataclass(frozen=True, slots=True)
class RowSource:
    """One file of rows."""

    path: Path
    round: int
    kind: Kind


Column = npt.NDArray[np.int64]


class RunRows:
    """An index of every row of a run, for many threads; raises DataError for a line that is no object."""

    def __init__(self, sources: Sequence[RowSource]) -> None:
        self.sources = tuple(sources)
        self._names: dict[str, list[str]] = {"method": [""], "reason": [""], "verdict": [""]}
        self._starts: list[int] = []
        columns = {name: array("q") for name in ("source", "offset", "seed", "id")}
        codes = {name: array("i") for name in self._names}
        known: dict[str, dict[str, int]] = {name: {"": 0} for name in self._names}
        for number, source in enumerate(self.sources):
            self._starts.append(len(columns["offset"]))
            for offset, row in numbered_rows(source.path):
                columns["source"].append(number)
                columns["offset"].append(offset)
                columns["id"].append(hash(str(row.get("id"))))
                columns["seed"].append(hash(str(row.get("seed_id") or row.get("id"))))
                for name, seen in known.items():
                    value = str(row.get(name) or "")
                    if value not in seen:
                        seen[value] = len(seen)
                        self._names[name].append(value)
                    codes[name].append(seen[value])
        self._starts.append(len(columns["offset"]))
        self._columns: dict[str, Column] = {k: np.frombuffer(v, np.int64) for k, v in columns.items() if v}
        self._codes = {k: np.frombuffer(v, np.int32) for k, v in codes.items() if v}
        self._searches: OrderedDict[RowFilter, Column] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._starts[-1]

    def values(self, name: Literal["method", "reason", "verdict"]) -> dict[str, int]:
        """Return the values of a column with the number of rows that have each, most frequent first."""
        if not len(self):
            return {}
        counts = np.bincount(self._codes[name], minlength=len(self._names[name]))
        pairs = [(value, int(n)) for value, n in zip(self._names[name], counts, strict=True) if value and n]
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def rounds(self) -> list[int]:
        """Return the rounds that have rows, 0 for the seeds."""
        return sorted({source.round for source in self.sources})

    def page(self, wanted: RowFilter, number: int, size: int = 20) -> RowPage:
        """Return page `number` of the rows that `wanted` leaves, from 0; the last where there are fewer."""
        found = self._find(wanted)
        number = max(0, min(number, (len(found) - 1) // size))
        first = number * size
        return RowPage(len(found), first, tuple(map(self.row, found[first : first + size].tolist())))

    def row(self, number: int) -> FoundRow:
        """Read one row again; raises IndexError for a number that is none."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        source = self.sources[int(self._columns["source"][number])]
        with source.path.open("rb") as f:
            f.seek(int(self._columns["offset"][number]))
            return FoundRow(number, source.kind, parse_row(f.readline()))

    def number_of(self, id_: str) -> int | None:
        """Return the number of the first row with this id; None where there is none."""
        numbers = np.flatnonzero(self._columns["id"] == hash(id_)).tolist() if len(self) else []
        return next((number for number in numbers if self.row(number).row.get("id") == id_), None)

    def tree(self, number: int, most: int = 200) -> tuple[list[FoundRow], int]:
        """Return up to `most` rows of a row's tree, itself among them, by round, and how many there are."""
        of_tree = np.flatnonzero(self._columns["seed"] == self._columns["seed"][number])
        shown = of_tree[:most].tolist()
        if number not in shown:
            shown[-1] = number
        return [self.row(n) for n in shown], len(of_tree)

    def _find(self, wanted: RowFilter) -> Column:
        with self._lock:
            if wanted in self._searches:
                self._searches.move_to_end(wanted)
                return self._searches[wanted]
        found = self._by_columns(wanted)
        if wanted.text.strip():
            found = self._by_text(found, wanted.text.strip())
        with self._lock:
            self._searches[wanted] = found
            while len(self._searches) > _SEARCHES_KEPT:
                self._searches.popitem(last=False)
        return found

    def _by_columns(self, wanted: RowFilter) -> Column:
        mask = np.ones(len(self), dtype=bool)
        for start, end, source in zip(self._starts, self._starts[1:], self.sources, strict=False):
            other_round = wanted.round is not None and source.round != wanted.round
            if other_round or (wanted.kind and source.kind != wanted.kind):
                mask[start:end] = False
        for name, names in self._names.items():
            value = getattr(wanted, name)
            if value and len(self):
                mask &= self._codes[name] == (names.index(value) if value in names else -1)
        return np.flatnonzero(mask).astype(np.int64)

    def _by_text(self, among: Column, text: str) -> Column:
        """Keep the rows that hold a text; where it is ASCII, most lines need no parsing."""
        found = array("q")
        folded = text.casefold()
        # JSON writes these characters as they are: a line without them holds no text with them.
        parts = _PLAIN.findall(text.lower()) if text.isascii() else []
        plain = max(parts, key=len, default="").encode()
        for number, line in self._lines(among):
            if plain in line.lower():
                row = parse_row(line)
                if any(folded in str(row.get(field) or "").casefold() for field in SEARCHED):
                    found.append(number)
        return np.array(found, dtype=np.int64)

    def _lines(self, among: Column) -> Iterator[tuple[int, bytes]]:
        for start, end, source in zip(self._starts, self._starts[1:], self.sources, strict=False):
            numbers = among[np.searchsorted(among, start) : np.searchsorted(among, end)]
            if not len(numbers):
                continue
            offsets = self._columns["offset"][numbers].tolist()
            with source.path.open("rb") as f:
                at = 0
                for number, offset in zip(numbers.tolist(), offsets, strict=True):
                    if offset != at:
                        f.seek(offset)
                    line = f.readline()
                    at = offset + len(line)
                    yield number, line


def row_sources(run: Run) -> list[RowSource]:
    """Return the files of rows that a run has so far."""
    sources = [RowSource(run.seeds, 0, "seed")] if run.seeds else []
    for round_ in run.rounds:
        if round_.evolved is not None:
            sources.append(RowSource(round_.evolved, round_.number, "kept"))
        if round_.eliminated is not None:
            sources.append(RowSource(round_.eliminated, round_.number, "eliminated"))
    return sources


def children_of(tree: Sequence[FoundRow]) -> Mapping[str | None, list[FoundRow]]:
    """Return the rows of a tree by their parent's id; None for no parent in it, or a row above itself."""
    by_id: dict[str, FoundRow] = {}
    for found in tree:
        by_id.setdefault(str(found.row.get("id")), found)
    children: dict[str | None, list[FoundRow]] = {}
    for found in tree:
        parent = str(found.row.get("parent_id") or "")
        rooted = parent in by_id and not _is_ancestor(str(found.row.get("id")), parent, by_id)
        children.setdefault(parent if rooted else None, []).append(found)
    return children


def _is_ancestor(id_: str, of: str, by_id: Mapping[str, FoundRow]) -> bool:
    met: set[str] = set()
    while of in by_id and of not in met:
        if of == id_:
            return True
        met.add(of)
        of = str(by_id[of].row.get("parent_id") or "")
    return of in met
