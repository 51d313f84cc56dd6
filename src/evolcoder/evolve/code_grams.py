"""N-grams of words and of code, such that renamed identifiers and changed literals make no difference.

Words are lower case and numbers one sign. In code, names are numbered by order of appearance within the
n-gram and literals are one sign each. In examples (doctests, "f([1, 2]) == 3") a list of literals counts as
one of them too, for a changed list often has another length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from html import unescape

import numpy as np
from numpy.typing import NDArray

_PRIME = 0x9E3779B97F4A7C15
_MIX = 0xD6E8FEB86659FD93
_WORD = re.compile(r"[a-z]+|\d+")
_TOKEN = re.compile(
    r"\"\"\"|'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|\d+(?:\.\d+)?(?:e[+-]?\d+)?|[A-Za-z_]\w*"
    r"|//|\*\*|[-+*/%<>=!]=|->|[^\w\s]"
)
_KEPT_TEXT = """
and as assert async await break class continue def del elif else except finally for from global if import in
is lambda not or pass raise return try while with yield True False None abs all any bin chr dict divmod
enumerate filter float int isinstance len list map max min ord pow range reversed round set sorted str sum
tuple zip append count endswith index isalpha isdigit isupper islower join keys lower pop replace split
startswith strip swapcase upper values math
"""
_KEPT = frozenset(_KEPT_TEXT.split())
"""Words of the language and its library that a renaming leaves alone."""


_TRIPLE = ('"""', "'''")
_BEFORE_SIGN = frozenset({"(", "[", ",", "=", "==", ":", ">", "return"})


class KnownGrams:
    """Finds a fixed set of n-grams in texts: all windows hashed at once in numpy, few looked at."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._ids: dict[str, int] = {}
        self._known: set[int] = set()
        self._sorted: NDArray[np.uint64] | None = None
        self._powers = np.array([pow(_PRIME, i, 2**64) for i in range(width)], dtype=np.uint64)

    def add(self, words: Sequence[str]) -> range:
        """Add every n-gram of `words`; return where each starts."""
        keys = self._keys([self._ids.setdefault(word, len(self._ids) + 1) for word in words])
        self._known.update(keys.tolist())
        self._sorted = None
        return range(len(keys))

    def find(self, words: Sequence[str]) -> list[int]:
        """Return where a known n-gram starts (one in 10^13 may be a chance hit)."""
        if self._sorted is None:
            self._sorted = np.array(sorted(self._known), dtype=np.uint64)
        get = self._ids.get
        keys = self._keys([get(word, 0) for word in words])
        if not len(keys) or not len(self._sorted):
            return []
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        found: list[int] = np.nonzero(self._sorted[place] == keys)[0].tolist()
        return found

    def _keys(self, ids: list[int]) -> NDArray[np.uint64]:
        keys = np.zeros(max(0, len(ids) - self._width + 1), dtype=np.uint64)
        numbers = np.array(ids, dtype=np.uint64) * np.uint64(_MIX)
        numbers ^= numbers >> np.uint64(31)
        for i in range(self._width if len(keys) else 0):
            keys += numbers[i : i + len(keys)] * self._powers[i]
        return keys


def plain(text: str) -> str:
    """Return a text as it is read: without HTML's escapes, other forms of letters, and what does not show."""
    if "&" in text:
        text = unescape(unescape(text))
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text).translate(_LOOK_ALIKES)
    return "".join(sign for sign in decomposed if unicodedata.category(sign) not in ("Mn", "Cf"))


# Cyrillic, then Greek letters beside the Latin ones that they look like.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһӏАВЕКМНОРСТУХІЈЅ" + "αενορτυικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhlABEKMHOPCTYXIJS" + "aevoptuikABEZHIKMNOPTYX",
)


def words_of(text: str) -> list[str]:
    """Words in lower case; numbers are one sign, so that changed literals hide nothing."""
    return ["0" if word[0].isdigit() else word for word in _WORD.findall(plain(text).lower())]


def code_tokens(code: str) -> tuple[list[str], list[str]]:
    """Return the tokens of a text read as code, and the kind of each: names "x", literals "0" and "''"."""
    tokens = _TOKEN.findall(plain(code))
    return tokens, [_kind(token) for token in tokens]


def as_examples(all_tokens: Sequence[str], all_kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return tokens and kinds without the signs of numbers, a row of equal literals as one."""
    tokens: list[str] = []
    kinds: list[str] = []
    for token, kind in zip(all_tokens, all_kinds, strict=True):
        if kind == "0" and kinds[-1:] == ["-"] and (len(kinds) < 2 or kinds[-2] in _BEFORE_SIGN):
            del tokens[-1], kinds[-1]
        tokens.append(token)
        kinds.append(kind)
        if kind in ("0", "''") and kinds[-3:] == [kind, ",", kind]:
            del tokens[-2:], kinds[-2:]
        elif kind in (")", "]") and kinds[-7:-3] == [*kinds[-3:], ","] and kinds[-2] in ("0", "''"):
            del tokens[-4:], kinds[-4:]  # [(0), (0)] as [(0)]
    return tokens, kinds


def numbered(tokens: Sequence[str], kinds: Sequence[str], start: int, width: int) -> str:
    """Return one code n-gram with its names numbered by first appearance, or "" for prose."""
    window = kinds[start : start + width]
    if window.count("x") >= width - 2:
        return ""  # prose, or nothing but names
    names: dict[str, str] = {}
    return " ".join(
        names.setdefault(token, f"x{len(names)}") if kind == "x" else kind
        for token, kind in zip(tokens[start : start + width], window, strict=True)
    )


@lru_cache(maxsize=1 << 15)
def _kind(token: str) -> str:
    first = token[0]
    if first.isdigit():
        return "0"
    if first in "\"'":
        return token if token in _TRIPLE else "''"
    if first.isalpha() or first == "_":
        return token if token in _KEPT else "x"
    return token
