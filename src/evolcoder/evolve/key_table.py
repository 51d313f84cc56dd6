"""A multimap from 64-bit keys to row numbers that holds millions of entries in a few megabytes.

The newest entries are sorted arrays in memory. What grows beyond that goes to a nameless temporary file, as
sorted runs. Of a run memory keeps two bytes an entry (a Bloom filter) and every 256th key: a key that is not
there, the usual case, costs no read, and one that is there two reads of some kilobytes.

Source of the filter: Putze, Sanders, Singler 2007, "Cache-, Hash- and Space-Efficient Bloom Filters", with
blocks of one word.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolcoder.errors import OutsideError

MOST_ROWS_A_KEY = 200
"""Rows told of one key, the oldest."""
_MOST_IN_MEMORY = 1 << 18
"""Entries, of 12 bytes."""
_ENTRIES_A_FENCE = 256
_ENTRIES_A_WORD = 4
"""Of the filter: with six bits set for each, about one key in 400 is looked up although it is absent."""
_BITS_A_KEY = 6
_ENTRIES_AT_ONCE = 1 << 14


class Spool:
    """A nameless file, written at its end and read anywhere; it is gone when nobody holds it any more."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="evolcoder-")  # noqa: SIM115 (lives as long as this)
        self._end = 0

    def append(self, data: NDArray[Any]) -> int:
        """Write an array and return where it begins, in bytes. Raises OutsideError where the disk is full."""
        begins = self._end
        left = data.data.cast("B") if data.size else memoryview(b"")
        try:
            while left:
                written = os.pwrite(self._file.fileno(), left, self._end)
                self._end += written
                left = left[written:]
        except OSError as error:
            raise OutsideError(
                f"{tempfile.gettempdir()}: no temporary file can be written ({error.strerror}); what is done "
                "is safe: make room, or set TMPDIR to another folder, then the same command continues"
            ) from error
        return begins

    def read(self, dtype: Any, begins: int, count: int) -> NDArray[Any]:
        """Return `count` numbers that were written at byte `begins`."""
        data = os.pread(self._file.fileno(), np.dtype(dtype).itemsize * count, begins)
        return np.frombuffer(data, dtype=dtype)


class KeyTable:
    """The multimap: `add` entries, `find` rows by key."""

    def __init__(self, spool: Spool, most_in_memory: int = _MOST_IN_MEMORY) -> None:
        self._spool = spool
        self._most_in_memory = most_in_memory
        self._levels: list[tuple[Any, Any]] = []
        """Sorted arrays in memory, older before newer."""
        self._runs: list[_Run] = []
        """All of these are older than what is in memory."""

    def add(self, keys: NDArray[np.uint64], rows: NDArray[np.uint32]) -> None:
        """Add entries, each a key and its row."""
        order = np.argsort(keys, kind="stable")
        level = (keys[order], rows[order])
        # Levels of doubling size: an entry is moved as often as the number of levels, no more.
        while self._levels and len(self._levels[-1][0]) <= 2 * len(level[0]):
            level = _merge(self._levels.pop(), level)
        self._levels.append(level)
        if sum(len(level[0]) for level in self._levels) < self._most_in_memory:
            return
        while len(self._levels) > 1:
            newer, older = self._levels.pop(), self._levels.pop()
            self._levels.append(_merge(older, newer))
        self._runs.append(_Run(self._spool, *self._levels.pop()))

    def find(self, keys: NDArray[np.uint64]) -> dict[int, list[int]]:
        """Return, for the position of each key that is there, its rows (oldest first, at most 200)."""
        found: dict[int, list[int]] = {}
        mixed, bits = _mixed(keys), _filter_bits(keys)
        for run in self._runs:
            run.find(keys, mixed, bits, found)
        for level_keys, level_rows in self._levels:
            first = np.searchsorted(level_keys, keys)
            inside = np.minimum(first, len(level_keys) - 1)
            for position in np.nonzero(level_keys[inside] == keys)[0].tolist():
                start = int(first[position])
                stop = start + 1
                key = keys[position]
                while stop < len(level_keys) and stop - start < MOST_ROWS_A_KEY and level_keys[stop] == key:
                    stop += 1
                found.setdefault(position, []).extend(level_rows[start:stop].tolist())
        return {position: rows[:MOST_ROWS_A_KEY] for position, rows in found.items()}


class _Run:
    """Sorted entries in the spool, with what memory keeps to find them."""

    def __init__(self, spool: Spool, keys: NDArray[np.uint64], rows: NDArray[np.uint32]) -> None:
        self._spool = spool
        self._length = len(keys)
        self._keys_begin = spool.append(keys)
        self._rows_begin = spool.append(rows)
        self._fences = keys[::_ENTRIES_A_FENCE].copy()
        words = 1 << max((len(keys) - 1) // _ENTRIES_A_WORD, 1).bit_length()
        self._filter = np.zeros(words, dtype=np.uint64)
        for start in range(0, len(keys), _ENTRIES_AT_ONCE):  # not all: their bits would take as much memory
            some = keys[start : start + _ENTRIES_AT_ONCE]
            np.bitwise_or.at(self._filter, self._words_of(_mixed(some)), _filter_bits(some))

    def find(
        self,
        keys: NDArray[np.uint64],
        mixed: NDArray[np.uint64],
        bits: NDArray[np.uint64],
        found: dict[int, list[int]],
    ) -> None:
        """Add to `found` the rows of each key, by the key's position."""
        maybe = np.nonzero((self._filter[self._words_of(mixed)] & bits) == bits)[0]
        if not len(maybe):
            return
        # The entries of a key may begin before the fence that equals it, and go on behind it.
        fences = np.maximum(np.searchsorted(self._fences, keys[maybe], side="left") - 1, 0)
        for position, fence in zip(maybe.tolist(), fences.tolist(), strict=True):
            start = fence * _ENTRIES_A_FENCE
            count = min(2 * _ENTRIES_A_FENCE, self._length - start)
            near = self._spool.read(np.uint64, self._keys_begin + 8 * start, count)
            same = np.nonzero(near == keys[position])[0]
            if len(same):
                first = self._rows_begin + 4 * (start + int(same[0]))
                rows = self._spool.read(np.uint32, first, min(len(same), MOST_ROWS_A_KEY))
                found.setdefault(position, []).extend(rows.tolist())

    def _words_of(self, mixed: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (mixed & np.uint64(len(self._filter) - 1)).astype(np.int64)


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return keys whose low bits depend on all bits."""
    mixed: NDArray[np.uint64] = (keys ^ (keys >> np.uint64(32))) * np.uint64(0x9FB21C651E98DF25)
    mixed ^= mixed >> np.uint64(29)
    return mixed


def _filter_bits(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the bits that each key sets in its word of a filter."""
    drawn = keys * np.uint64(0xD6E8FEB86659FD93)
    bits = np.zeros(len(keys), dtype=np.uint64)
    for i in range(_BITS_A_KEY):
        bits |= np.uint64(1) << ((drawn >> np.uint64(28 + 6 * i)) & np.uint64(63))
    return bits


def _merge(old: tuple[Any, Any], new: tuple[Any, Any]) -> tuple[Any, Any]:
    # Positions of the newer in the older, instead of sorting anew: needs no third copy.
    places = np.searchsorted(old[0], new[0], side="right")
    return np.insert(old[0], places, new[0]), np.insert(old[1], places, new[1])
