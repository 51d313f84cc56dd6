"""Finds training rows that copy benchmark problems, and shows each beside the problem.

A problem is two bags of n-grams: five words of its text in a row, and eight tokens of its solution and
doctests in a row, where names are numbered by order of appearance within the eight and literals are one sign
each, so that renamed identifiers and changed numbers hide nothing. A row is compared by the share of a
problem's n-grams that it holds. An n-gram counts less the more rows hold it ("return the sum of the"), which
is learnt from the rows themselves, or from seeds, before they are judged. Memory follows the problems, not
the rows.

The problems come from the caller; this room knows no benchmark. Against which WizardCoder's own check
differs: nearest neighbours by embedding, judged by a model (appendix C).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evolcoder.records import Instruction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORDS_A_GRAM = 5
TOKENS_A_GRAM = 8
_EXAMPLE = re.compile(r"^assert |\w\(.*\)\s*(?:==|=|->|➞|=>|returns?\b|should)")
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


@dataclass(frozen=True, slots=True)
class ProblemText:
    """A benchmark problem as far as its copies are concerned."""

    benchmark: str
    task_id: str
    text: str
    """What is asked, in words, its doctests included."""
    code: str
    """The reference solution."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a row counts as a copy; calibrated on Code Alpaca with planted copies (docs/evolve.md)."""

    text: float = 0.5
    """Share of the problem's words in a row, five by five, weighted by rarity."""
    code: float = 0.5
    """Share of the solution's token n-grams."""
    both: float = 0.3
    """Share of all n-grams of text and code together."""
    text_evidence: float = 8.0
    """Least number of matching n-grams, each counting 1 if no other row holds it, less if many do."""
    code_evidence: float = 9.0
    both_evidence: float = 14.0
    least_of_both: float = 0.1
    """For "text and code": either must be there at least this much."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that copies a problem."""

    row_id: str
    benchmark: str
    task_id: str
    how: str
    """"text", "code" or "text and code": where the copy was found."""
    text_share: float
    code_share: float
    evidence: float
    row_text: str
    problem_text: str


@dataclass(slots=True)
class _Indexed:
    problem: ProblemText
    text: set[int] = field(default_factory=set)
    code: set[int] = field(default_factory=set)


class ContaminationIndex:
    """Problems, indexed; `learn` from rows first, then ask for `hits`."""

    def __init__(self, problems: Iterable[ProblemText], thresholds: Thresholds | None = None) -> None:
        self._thresholds = thresholds or Thresholds()
        self._number: dict[str, int] = {}
        self._text, self._code = _Grams(WORDS_A_GRAM), _Grams(TOKENS_A_GRAM)
        self._postings: list[list[int]] = []
        self._rows_with: list[int] = []
        self._rows = 0
        self._problems = [self._index(position, problem) for position, problem in enumerate(problems)]

    def __len__(self) -> int:
        return len(self._problems)

    @property
    def rows_learnt(self) -> int:
        """Rows that the weights were learnt from."""
        return self._rows

    def learn(self, rows: Iterable[Instruction]) -> None:
        """Count in how many rows each n-gram of a problem occurs."""
        for row in rows:
            self._rows += 1
            for number in self._grams_of(row):
                self._rows_with[number] += 1

    def hits(self, row: Instruction) -> list[Hit]:
        """Return the problems that a row copies, the surest first."""
        found = self._grams_of(row)
        matched = Counter(position for number in found for position in self._postings[number])
        least = min(self._thresholds.text_evidence, self._thresholds.code_evidence)
        near = [self._problems[position] for position, count in matched.items() if count >= least]
        hits = [hit for indexed in near if (hit := self._compare(row, found, indexed))]
        return sorted(hits, key=lambda hit: (-max(hit.text_share, hit.code_share), hit.task_id))

    def _compare(self, row: Instruction, found: set[int], indexed: _Indexed) -> Hit | None:
        limits = self._thresholds
        text_all, text_in = self._weigh(indexed.text, found)
        code_all, code_in = self._weigh(indexed.code, found)
        text_share = text_in / text_all if text_all else 0.0
        code_share = code_in / code_all if code_all else 0.0
        both_share = (text_in + code_in) / (text_all + code_all) if text_all + code_all else 0.0
        how = ""
        if text_share >= limits.text and text_in >= limits.text_evidence:
            how = "text"
        if code_share >= limits.code and code_in >= limits.code_evidence:
            how = "text and code" if how else "code"
        if (
            not how
            and both_share >= limits.both
            and text_in + code_in >= limits.both_evidence
            and min(text_share, code_share) >= limits.least_of_both
        ):
            how = "text and code"
        if not how:
            return None
        problem = indexed.problem
        return Hit(
            row.id,
            problem.benchmark,
            problem.task_id,
            how,
            round(text_share, 3),
            round(code_share, 3),
            round(text_in + code_in, 1),
            "\n".join(part for part in (row.instruction, row.input, row.response) if part),
            f"{problem.text}\n{problem.code}",
        )

    def _weigh(self, grams: set[int], found: set[int]) -> tuple[float, float]:
        """Return the weight of a problem's n-grams and of those found; one in no other row weighs 1."""
        whole = inside = 0.0
        scale = math.log(self._rows + 2)
        for number in grams:
            # The row under judgement is usually one of those learnt from.
            others = max(self._rows_with[number] - 1, 0)
            weight = 1 - math.log(1 + others) / scale
            whole += weight
            if number in found:
                inside += weight
        return whole, inside

    def _index(self, position: int, problem: ProblemText) -> _Indexed:
        indexed = _Indexed(problem)
        words = _words(problem.text)
        for start in self._text.add(words):
            indexed.text.add(self._add(" ".join(words[start : start + WORDS_A_GRAM]), position))
        for part in _code_parts(problem):
            tokens = _TOKEN.findall(part)
            kinds = [_kind(token) for token in tokens]
            for start in self._code.add(kinds):
                if gram := _numbered(tokens, kinds, start):
                    indexed.code.add(self._add(gram, position))
        return indexed

    def _add(self, gram: str, position: int) -> int:
        number = self._number.setdefault(gram, len(self._number))
        if number == len(self._postings):
            self._postings.append([])
            self._rows_with.append(0)
        if not self._postings[number] or self._postings[number][-1] != position:
            self._postings[number].append(position)
        return number

    def _grams_of(self, row: Instruction) -> set[int]:
        """Return the numbers of the problems' n-grams that a row holds."""
        text = "\n".join((row.instruction, row.input, row.response))
        words = _words(text)
        grams = [" ".join(words[start : start + WORDS_A_GRAM]) for start in self._text.find(words)]
        tokens = _TOKEN.findall(text)
        kinds = [_kind(token) for token in tokens]
        grams += [_numbered(tokens, kinds, start) for start in self._code.find(kinds)]
        known = self._number
        return {known[gram] for gram in grams if gram in known}


class _Grams:
    """Finds a fixed set of n-grams in texts: all windows hashed at once in numpy, few looked at."""

    def __init__(self, width: int) -> None:
        import numpy as np

        self._np = np
        self._width = width
        self._ids: dict[str, int] = {}
        self._known: set[int] = set()
        self._sorted: NDArray[np.uint64] | None = None
        self._powers = np.array([pow(_PRIME, i, 2**64) for i in range(width)], dtype=np.uint64)

    def add(self, words: Sequence[str]) -> Iterator[int]:
        """Add every n-gram of `words`; yield where each starts."""
        ids = [self._ids.setdefault(word, len(self._ids) + 1) for word in words]
        for start, key in enumerate(self._keys(ids).tolist()):
            self._known.add(key)
            yield start
        self._sorted = None

    def find(self, words: Sequence[str]) -> list[int]:
        """Return where a known n-gram starts (one in 10^13 may be a chance hit)."""
        np = self._np
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
        numpy = self._np
        count = len(ids) - self._width + 1
        if count <= 0:
            nothing: NDArray[np.uint64] = numpy.empty(0, dtype=numpy.uint64)
            return nothing
        numbers: Any = numpy.array(ids, dtype=numpy.uint64) * numpy.uint64(_MIX)
        numbers ^= numbers >> numpy.uint64(31)
        keys: Any = numpy.zeros(count, dtype=numpy.uint64)
        for i in range(self._width):
            keys += numbers[i : i + count] * self._powers[i]
        result: NDArray[np.uint64] = keys
        return result


def _words(text: str) -> list[str]:
    """Words in lower case; numbers are one sign, so that changed literals hide nothing."""
    return ["0" if word[0].isdigit() else word for word in _WORD.findall(text.lower())]


def _numbered(tokens: Sequence[str], kinds: Sequence[str], start: int) -> str:
    """Return one code n-gram with its names numbered by first appearance, or "" for prose."""
    window = kinds[start : start + TOKENS_A_GRAM]
    if window.count("x") >= TOKENS_A_GRAM - 2:
        return ""  # prose, or nothing but names
    names: dict[str, str] = {}
    return "# " + " ".join(
        names.setdefault(token, f"x{len(names)}") if kind == "x" else kind
        for token, kind in zip(tokens[start : start + TOKENS_A_GRAM], window, strict=True)
    )


def _kind(token: str) -> str:
    first = token[0]
    if first.isdigit():
        return "0"
    if first in "\"'":
        return "''" if len(token) != 3 else token
    if first.isalpha() or first == "_":
        return token if token in _KEPT else "x"
    return token


def _code_parts(problem: ProblemText) -> list[str]:
    """Return the solution under its signature, and the examples of the text, doctests with what they "
    "print."""
    lines = problem.text.splitlines()
    signature = [line for line in lines if line.startswith("def ")][-1:]
    examples: list[str] = []
    in_doctest = False
    for line in lines:
        stripped = line.strip()
        in_doctest = bool(stripped) and (in_doctest or stripped.startswith(">>>"))
        if in_doctest or _EXAMPLE.search(stripped):
            examples.append(stripped.strip("\"'") if stripped in ('"""', "'''") else stripped)
    return ["\n".join([*signature, problem.code]), "\n".join(examples)]


def find_contamination(
    rows: Sequence[Instruction], problems: Iterable[ProblemText], thresholds: Thresholds | None = None
) -> list[Hit]:
    """Return every hit of `rows`, in their order; goes through them twice."""
    index = ContaminationIndex(problems, thresholds)
    index.learn(rows)
    return [hit for row in rows for hit in index.hits(row)]
