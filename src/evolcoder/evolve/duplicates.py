"""Exact and near duplicates among millions of texts, in bounded memory and in one pass.

A text is the set of its word triples; MinHash (rensa) makes 128 numbers of it, of which 16 bands of 8 find
candidates and the low byte of each confirms them. A text leaves 17 entries of a `KeyTable` and 136 bytes; of
these 340 bytes memory holds some 40, a temporary file the rest.

The newest entries of the table are sorted arrays in memory, what grows beyond that goes to the file as sorted
runs. Of a run memory keeps two bytes an entry (a Bloom filter) and every 256th key: a key that is not there,
the usual case, costs no read, and one that is there two reads of some kilobytes.

Sources: Broder 1997; banding after Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4; filter of
Putze, Sanders, Singler 2007, "Cache-, Hash- and Space-Efficient Bloom Filters", with blocks of one word.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from evolcoder.errors import OutsideError
from evolcoder.execution.engine import FunctionWork, Pool

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


_log = logging.getLogger(__name__)
PERMUTATIONS = 128
BANDS = 16
"""With 8 numbers a band, a pair of similarity 0.9 shares a band with chance 0.9998, one of 0.7 with 0.61."""
_ROWS_A_CHUNK = 4096
_TEXTS_A_BLOCK = 32
"""Texts that a pool's worker sketches together."""
_WORD = re.compile(r"\w+")

Item = TypeVar("Item")


class Text(NamedTuple):
    """A text and the tree it belongs to."""

    text: str
    tree: str
    """Texts of one tree are ancestors and descendants: near copies within it are what evolution makes, so
    only exact ones count there."""


class Duplicate(NamedTuple):
    """What a text repeats."""

    row: int
    """Position of the earlier text, counting every text added to the index from 0."""
    similarity: float
    """1.0 for an exact copy (but for case, spacing and signs), else the estimated Jaccard similarity."""


class Sketch(NamedTuple):
    """What is kept of texts, a row each."""

    keys: NDArray[np.uint64]
    """Table keys: of the exact text first, then one a band."""
    signatures: NDArray[np.uint8]
    trees: NDArray[np.uint64]


def sketch_of(texts: Sequence[Text], near: bool) -> Sketch:
    """Sketch texts; without `near` only exact copies will be found."""
    words = [_WORD.findall(text.text.lower()) for text in texts]
    exact = [_hash64(" ".join(w) or text.text) for w, text in zip(words, texts, strict=True)]
    trees = np.array([_hash64(text.tree) for text in texts], dtype=np.uint64)
    keys = np.empty((len(texts), 1 + BANDS * near), dtype=np.uint64)
    keys[:, 0] = exact
    if not near:
        return Sketch(keys, np.empty((len(texts), 0), dtype=np.uint8), trees)
    digests = _minhash([triples(w) for w in words])
    keys[:, 1:] = _band_keys(digests)
    return Sketch(keys, digests.astype(np.uint8), trees)


def sketch_work(near: bool) -> FunctionWork[Sequence[Text], Sketch]:
    """Return the work of sketching blocks of texts; `near` where similar texts count as copies."""
    sketch = partial(sketch_of, near=near)
    return FunctionWork(partial(partial, sketch), given_up=partial(_sketched_exactly, near))


def _sketched_exactly(near: bool, texts: Sequence[Text], reason: str) -> Sketch:
    """Sketch texts so that only exact copies of them are found, in the form of the others' sketches."""
    _log.warning("%d rows are looked for as exact copies only: %s", len(texts), reason)
    exact = sketch_of(texts, near=False)
    if not near:
        return exact
    # A key that an exact copy shares, and nothing else, in place of each band's.
    bands = np.repeat(exact.keys, BANDS, axis=1) ^ np.arange(1, BANDS + 1, dtype=np.uint64)
    keys = np.concatenate([exact.keys, bands], axis=1)
    return Sketch(keys, np.zeros((len(texts), PERMUTATIONS), dtype=np.uint8), exact.trees)


class DuplicateIndex:
    """Texts met so far, and whether a new one repeats one of them."""

    def __init__(self, threshold: float | None, pool: Pool[Sequence[Text], Sketch] | None = None) -> None:
        """`pool` sketches texts (see `sketch_work`); None: this thread does."""
        self._pool = pool
        self._threshold = threshold
        self._bands = BANDS if threshold is not None else 0
        self._spool = Spool()
        self._table = KeyTable(self._spool)
        self._marks = _Marks(self._spool, with_signatures=threshold is not None)

    def __len__(self) -> int:
        return len(self._marks)

    def add_all(self, texts: Iterable[Text]) -> None:
        """Add texts without asking whether they repeat anything."""
        for batch in batches(texts, 2000):
            keys, signatures, trees = self._sketch(batch)
            rows = [self._marks.append(signatures[i], trees[i]) for i in range(len(batch))]
            self._table.add(keys.ravel(), np.repeat(np.array(rows, dtype="u4"), keys.shape[1]))

    def add_new(self, texts: Sequence[Text]) -> list[Duplicate | None]:
        """For each text in order say what it repeats; those that repeat nothing are added."""
        if not texts:
            return []
        keys, signatures, trees = self._sketch(texts)
        earlier = self._table.find(keys.ravel())
        width = keys.shape[1]
        within: dict[int, list[int]] = {}
        found: list[Duplicate | None] = []
        new_keys, new_rows = [], []
        for i, row_keys in enumerate(keys.tolist()):
            candidates: dict[int, None] = {}
            exact = -1
            for j, key in enumerate(row_keys):
                rows = [*earlier.get(i * width + j, ()), *within.get(key, ())]
                if j == 0 and rows:
                    exact = rows[0]
                    break
                candidates |= dict.fromkeys(rows[:MOST_ROWS_A_KEY])
            repeated = (
                Duplicate(exact, 1.0) if exact >= 0 else self._nearest(candidates, signatures, trees, i)
            )
            found.append(repeated)
            if repeated is None:
                row = self._marks.append(signatures[i], trees[i])
                for key in row_keys:
                    within.setdefault(key, []).append(row)
                new_keys.append(keys[i])
                new_rows.append(row)
        if new_keys:
            self._table.add(np.concatenate(new_keys), np.repeat(np.asarray(new_rows, dtype=np.uint32), width))
        return found

    def _nearest(
        self, candidates: dict[int, None], signatures: NDArray[np.uint8], trees: NDArray[np.uint64], i: int
    ) -> Duplicate | None:
        """Return the most similar candidate of another tree, if it is similar enough."""
        best: Duplicate | None = None
        for row in candidates:
            if self._marks.tree(row) == trees[i]:
                continue
            same = int((self._marks.signature(row) == signatures[i]).sum()) / PERMUTATIONS
            # Two different numbers share their low byte once in 256.
            similarity = max(0.0, (same - 1 / 256) / (1 - 1 / 256))
            if similarity >= (self._threshold or 1.0) and (best is None or similarity > best.similarity):
                best = Duplicate(row, round(similarity, 3))
        return best

    def _sketch(self, texts: Sequence[Text]) -> Sketch:
        if self._pool is None:
            return sketch_of(texts, near=bool(self._bands))
        parts = list(self._pool.map(batches(texts, _TEXTS_A_BLOCK)))
        return Sketch(*(np.concatenate(of) for of in zip(*parts, strict=True)))


class _Marks:
    """Tree and signature of each text, by row: the last few thousand in memory, the others on the disk."""

    def __init__(self, spool: Spool, with_signatures: bool) -> None:
        self._spool = spool
        width = PERMUTATIONS if with_signatures else 0
        self._signatures = np.zeros((_ROWS_A_CHUNK, width), dtype=np.uint8)
        self._trees = np.zeros(_ROWS_A_CHUNK, dtype=np.uint64)
        self._written: list[tuple[int, int]] = []
        """Where the signatures and the trees of each full chunk begin in the spool."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, signature: NDArray[np.uint8], tree: Any) -> int:
        """Add a text; return its row."""
        row = self._count
        place = row % _ROWS_A_CHUNK
        if place == 0 and row:
            self._written.append((self._spool.append(self._signatures), self._spool.append(self._trees)))
        self._signatures[place], self._trees[place] = signature, tree
        self._count += 1
        return row

    def tree(self, row: int) -> int:
        """Return the hash of a text's tree."""
        chunk, place = divmod(row, _ROWS_A_CHUNK)
        if chunk == len(self._written):
            return int(self._trees[place])
        return int(self._spool.read(np.uint64, self._written[chunk][1] + 8 * place, 1)[0])

    def signature(self, row: int) -> NDArray[np.uint8]:
        """Return the low bytes of a text's MinHash numbers."""
        chunk, place = divmod(row, _ROWS_A_CHUNK)
        if chunk == len(self._written):
            recent: NDArray[np.uint8] = self._signatures[place]
            return recent
        return self._spool.read(np.uint8, self._written[chunk][0] + PERMUTATIONS * place, PERMUTATIONS)


def triples(words: Sequence[str]) -> list[str]:
    """Return the word triples of a text; a text of fewer than three words is one triple."""
    if len(words) < 3:
        return [" ".join(words)]
    return [" ".join(three) for three in zip(words, words[1:], words[2:], strict=False)]


def _hash64(text: str) -> int:
    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def _minhash(token_sets: list[list[str]]) -> NDArray[np.uint32]:
    """Return the MinHash numbers of each token set, a row each."""
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_token_sets(token_sets, PERMUTATIONS, 1)
    return np.array(matrix.to_rows(), dtype=np.uint32)


def _band_keys(digests: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return one 64-bit key a band: a polynomial of its numbers, told apart by the band's index."""
    parts = digests.astype(np.uint64).reshape(len(digests), BANDS, PERMUTATIONS // BANDS)
    keys = np.broadcast_to(np.arange(1, BANDS + 1, dtype=np.uint64), parts.shape[:2]).copy()
    for i in range(parts.shape[2]):
        keys = (keys ^ parts[:, :, i]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items in order; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
