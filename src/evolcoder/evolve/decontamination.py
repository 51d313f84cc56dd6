"""Finds training rows that copy benchmark problems, and shows each beside the problem.

A problem is three bags of n-grams: three words of its text in a row, eight tokens of its solution and
doctests in a row, and six tokens of its examples. Words are lower case and numbers one sign; in code, names
are numbered by order of appearance within the n-gram and literals are one sign each: renamed identifiers and
changed literals hide nothing. In examples (doctests, "f([1, 2]) == 3") a list of literals is one of them too.

A row is compared by the share of a problem's n-grams that it holds. An n-gram counts less the more rows and
problems hold it ("return the sum"), which is learnt from the rows themselves, or from seeds, before they are
compared. Memory follows the problems, which come from the caller, not the rows. WizardCoder's own check is
another: nearest neighbours by embedding, judged by a model (appendix C).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import unescape
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from evolcoder.records import Instruction, ProblemText

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


_WORDS_A_GRAM, _TOKENS_A_GRAM, _TOKENS_AN_EXAMPLE_GRAM = 3, 8, 6
_EXAMPLE = re.compile(r"^assert |\w\(.*\)\s*(?:==|=|->|➞|=>|returns?\b|should)")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a row counts as a copy: by text, by code, by both, or by examples with some of the text.

    Calibrated on Code Alpaca and evol-teacher with planted copies (docs/evolve.md).
    """

    text: float = 0.3
    """Share of the problem's words in a row, three by three, weighted by rarity."""
    code: float = 0.5
    """Share of the token n-grams of solution and doctests, where some of the text is there too."""
    code_alone: float = 0.6
    """The same where none of the text is there: sorting and counting loops are in many problems."""
    both: float = 0.3
    """Share of all n-grams of text and code together."""
    text_evidence: float = 5.0
    """Least number of matching n-grams, each counting 1 if no other row holds it, less if many do."""
    code_evidence: float = 9.0
    code_alone_evidence: float = 15.0
    both_evidence: float = 14.0
    least_of_both: float = 0.1
    """For "text and code": either must be there at least this much."""
    examples: float = 0.4
    """Share of the n-grams of the examples, of which the lengths of lists do not count."""
    examples_evidence: float = 3.0
    some_text: float = 0.05
    """Share of the words from which some of the text is there; "examples" asks for it."""
    some_prose: float = 0.12
    """The same of the words outside signature and examples."""
    examples_alone: tuple[tuple[float, float], ...] = ((0.75, 5.5), (0.4, 10.5))
    """Shares with their evidence from which two or more examples are enough without any text."""
    least_of_question: float = 0.2
    """For "text and examples": either must be there at least this much."""
    question_evidence: float = 9.0
    """And together this much."""


_LIMITS = Thresholds()


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that copies a problem."""

    row_id: str
    benchmark: str
    task_id: str
    how: str
    """"text", "code", "text and code", "examples", "text and examples" or "embedding": where the copy was
    found; "set aside" for a row that could not be compared, with the reason in place of a problem."""
    row_text: str
    problem_text: str
    text_share: float = 0.0
    code_share: float = 0.0
    examples_share: float = 0.0
    evidence: float = 0.0
    """Matching n-grams, each counting 1 if no other row holds it, less if many do."""
    similarity: float = 0.0
    """Cosine of the embeddings (`nearest`)."""


def hit_of(row: Instruction, problem: ProblemText, how: str, **measures: float) -> Hit:
    """Return the hit of a row and a problem, with their texts for the report."""
    row_text = "\n".join(part for part in (row.instruction, row.input, row.response) if part)
    problem_text = f"{problem.text}\n{problem.code}"
    return Hit(row.id, problem.benchmark, problem.task_id, how, row_text, problem_text, **measures)


def hit_of_uncompared(row: Instruction, reason: str) -> Hit:
    """Return what stands for the hits of a row that could not be compared: it must not pass as clean."""
    row_text = "\n".join(part for part in (row.instruction, row.input, row.response) if part)
    return Hit(row.id, "", "", "set aside", row_text, reason)


@dataclass(frozen=True, slots=True)
class Learnt:
    """In how many rows the n-grams of an index's problems occur."""

    rows: int
    rows_with: dict[int, int]
    """By the n-gram's number in the index."""


_TEXT, _CODE, _EXAMPLES, _PROSE = range(4)
"""The bags of a problem; prose is the text without signature and examples."""
_NO_PROSE = ("def ", "class ", "import ", "from ")
_IN_TOO_MANY = 64
"""An n-gram in more problems than this ("write a function") says nothing and weighs nothing."""


class ContaminationIndex:
    """Problems, indexed; `learn` from rows first, then ask for `hits`."""

    def __init__(self, problems: Iterable[ProblemText], compared: Callable[[str], str] | None = None) -> None:
        """Index the problems; `compared` returns what of a text counts, of problems and rows alike."""
        self._compared = compared
        self._number: dict[str, int] = {}
        self._text, self._code = KnownGrams(_WORDS_A_GRAM), KnownGrams(_TOKENS_A_GRAM)
        self._examples = KnownGrams(_TOKENS_AN_EXAMPLE_GRAM)
        self._postings: list[list[int]] = []
        """Of each n-gram, the problems that hold it."""
        self._bag: list[int] = []
        self._rows_with: list[int] = []
        self._rows = 0
        self._weights: list[float] = []
        """Of each n-gram; empty when rows were learnt since."""
        self._wholes: list[list[float]] = []
        """Of each problem, the weight of its bags."""
        self._n_examples: list[int] = []
        """Of each problem."""
        self._problems = list(problems)
        for position, problem in enumerate(self._problems):
            if compared is not None:
                problem = replace(problem, text=compared(problem.text), code=compared(problem.code))
            self._index(position, problem)

    def __len__(self) -> int:
        return len(self._problems)

    def learn(self, rows: Iterable[Instruction]) -> None:
        """Count in how many rows each n-gram of a problem occurs."""
        self.add(self.counts(rows))

    def counts(self, rows: Iterable[Instruction]) -> Learnt:
        """Return what `learn` would count in these rows, for the index of another process to `add`."""
        found: Counter[int] = Counter()
        total = 0
        for row in rows:
            total += 1
            found.update(self._grams_of(row))
        return Learnt(total, dict(found))

    def add(self, learnt: Learnt) -> None:
        """Add what an index of the same problems, in the same order, counted."""
        self._weights = []
        self._rows += learnt.rows
        for number, count in learnt.rows_with.items():
            self._rows_with[number] += count

    @property
    def learnt(self) -> Learnt:
        """All that was counted so far."""
        return Learnt(self._rows, {number: count for number, count in enumerate(self._rows_with) if count})

    def hits(self, row: Instruction) -> list[Hit]:
        """Return the problems that a row copies, the surest first."""
        if not self._weights:
            self._learn_weights()
        insides: dict[int, list[float]] = {}
        for number in self._grams_of(row):
            weight, bag = self._weights[number], self._bag[number]
            if weight:
                for position in self._postings[number]:
                    insides.setdefault(position, [0.0] * 4)[bag] += weight
        least = min(_LIMITS.text_evidence, _LIMITS.code_evidence, _LIMITS.examples_evidence)
        near = [position for position, inside in insides.items() if sum(inside[:_PROSE]) >= least]
        hits = [hit for position in near if (hit := self._compare(row, position, insides[position]))]
        shares = attrgetter("text_share", "code_share", "examples_share")
        return sorted(hits, key=lambda hit: (-max(shares(hit)), hit.task_id))

    def _compare(self, row: Instruction, position: int, inside: Sequence[float]) -> Hit | None:
        wholes = self._wholes[position]
        shares = [part / whole if whole else 0.0 for part, whole in zip(inside, wholes, strict=True)]
        how = self._in_text_or_code(position, inside, shares) or self._in_examples(position, inside, shares)
        if not how:
            return None
        text, code, examples, _ = inside
        return hit_of(
            row,
            self._problems[position],
            how,
            text_share=round(shares[_TEXT], 3),
            code_share=round(shares[_CODE], 3),
            examples_share=round(shares[_EXAMPLES], 3),
            evidence=round(text + max(code, examples), 1),
        )

    def _in_text_or_code(self, position: int, inside: Sequence[float], shares: Sequence[float]) -> str:
        limits, wholes = _LIMITS, self._wholes[position]
        text, code = inside[_TEXT], inside[_CODE]
        text_share, code_share = shares[_TEXT], shares[_CODE]
        worded = text_share >= limits.text and text >= limits.text_evidence
        if text_share >= limits.some_text:
            copied = code_share >= limits.code and code >= limits.code_evidence
        else:
            copied = code_share >= limits.code_alone and code >= limits.code_alone_evidence
        if copied:
            return "text and code" if worded else "code"
        if worded:
            return "text"
        both = wholes[_TEXT] + wholes[_CODE]
        together = (
            both > 0
            and (text + code) / both >= limits.both
            and text + code >= limits.both_evidence
            and min(text_share, code_share) >= limits.least_of_both
        )
        return "text and code" if together else ""

    def _in_examples(self, position: int, inside: Sequence[float], shares: Sequence[float]) -> str:
        limits = _LIMITS
        text, examples = inside[_TEXT], inside[_EXAMPLES]
        text_share, share = shares[_TEXT], shares[_EXAMPLES]
        if text_share >= limits.some_text or shares[_PROSE] >= limits.some_prose:
            if share >= limits.examples and examples >= limits.examples_evidence:
                return "examples"
            least = min(max(text_share, shares[_PROSE]), share)
            if least >= limits.least_of_question and text + examples >= limits.question_evidence:
                return "text and examples"
        # One example by itself says little: many functions take a list and return a number.
        alone = self._n_examples[position] > 1 and any(
            share >= enough and examples >= evidence for enough, evidence in limits.examples_alone
        )
        return "examples" if alone else ""

    def _learn_weights(self) -> None:
        """Weigh every n-gram, one in no other row 1, and every problem's bags."""
        scale = math.log(self._rows + len(self._problems) + 2)
        self._wholes = [[0.0] * 4 for _ in self._problems]
        self._weights = []
        for rows, positions, bag in zip(self._rows_with, self._postings, self._bag, strict=True):
            # The row that is compared is usually one of those learnt from; other problems count as rows, so
            # that a small data set knows what is common too.
            others = max(rows - 1, 0) + len(positions) - 1
            weight = 0.0 if len(positions) > _IN_TOO_MANY else 1 - math.log(1 + others) / scale
            self._weights.append(weight)
            for position in positions:
                self._wholes[position][bag] += weight

    def _index(self, position: int, problem: ProblemText) -> None:
        words = words_of(problem.text)
        for start in self._text.add(words):
            self._add(" ".join(words[start : start + _WORDS_A_GRAM]), _TEXT, position)
        prose, solution, examples, n_examples = _parts(problem)
        words = words_of(prose)
        for start in self._text.add(words):
            self._add(f"~ {' '.join(words[start : start + _WORDS_A_GRAM])}", _PROSE, position)
        self._n_examples.append(n_examples)
        for part in (solution, examples):
            tokens, kinds = code_tokens(part)
            for start in self._code.add(kinds):
                if gram := numbered(tokens, kinds, start, _TOKENS_A_GRAM):
                    self._add(f"# {gram}", _CODE, position)
        tokens, kinds = as_examples(*code_tokens(examples))
        for start in self._examples.add(kinds):
            if gram := numbered(tokens, kinds, start, _TOKENS_AN_EXAMPLE_GRAM):
                self._add(f"> {gram}", _EXAMPLES, position)

    def _add(self, gram: str, bag: int, position: int) -> None:
        number = self._number.setdefault(gram, len(self._number))
        if number == len(self._postings):
            self._postings.append([])
            self._rows_with.append(0)
            self._bag.append(bag)
        if not self._postings[number] or self._postings[number][-1] != position:
            self._postings[number].append(position)

    def _grams_of(self, row: Instruction) -> set[int]:
        """Return the numbers of the problems' n-grams that a row holds."""
        question, response = f"{row.instruction}\n{row.input}", row.response
        if self._compared is not None:
            question, response = self._compared(question), self._compared(response)
        words = words_of(f"{question}\n{response}")
        grams = [" ".join(words[start : start + _WORDS_A_GRAM]) for start in self._text.find(words)]
        grams += [f"~ {gram}" for gram in grams]
        asked, asked_kinds = code_tokens(question)
        answered, answered_kinds = code_tokens(response)
        tokens, kinds = [*asked, *answered], [*asked_kinds, *answered_kinds]
        for start in self._code.find(kinds):
            grams.append(f"# {numbered(tokens, kinds, start, _TOKENS_A_GRAM)}")
        # Examples belong to the question; in an answer, calls of anything look like them.
        tokens, kinds = as_examples(asked, asked_kinds)
        for start in self._examples.find(kinds):
            grams.append(f"> {numbered(tokens, kinds, start, _TOKENS_AN_EXAMPLE_GRAM)}")
        known = self._number
        return {known[gram] for gram in grams if gram in known}


def _parts(problem: ProblemText) -> tuple[str, str, str, int]:
    """Return the prose, the solution under its signature, the examples (doctests with their output), and how
    many examples there are."""
    signature: list[str] = []
    prose: list[str] = []
    examples: list[str] = []
    in_doctest, count = False, 0
    for line in problem.text.splitlines():
        stripped = line.strip()
        if line.startswith(_NO_PROSE):
            signature = [line] if line.startswith("def ") else signature
            continue
        in_doctest = bool(stripped) and (in_doctest or stripped.startswith(">>>"))
        called = _EXAMPLE.search(stripped) is not None
        count += stripped.startswith(">>>") or called
        if in_doctest or called:
            examples.append(stripped.strip("\"'") if stripped in ('"""', "'''") else stripped)
        else:
            prose.append(line)
    return "\n".join(prose), "\n".join([*signature, problem.code]), "\n".join(examples), count
