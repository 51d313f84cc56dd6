"""Finds training rows that copy benchmark problems, and shows each beside the problem.

A problem is three bags of n-grams: three words of its text in a row, eight tokens of its solution and
doctests in a row, and six tokens of its examples (`code_grams`): renamed identifiers and changed literals
hide nothing. A row is compared by the share of a problem's n-grams that it holds. An n-gram counts less the
more rows and problems hold it ("return the sum"), which is learnt from the rows themselves, or from seeds,
before they are judged. Memory follows the problems, not the rows.

The problems come from the caller; this room knows no benchmark. Against which WizardCoder's own check
differs: nearest neighbours by embedding, judged by a model (appendix C).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from evolcoder.evolve.code_grams import (
    TOKENS_A_GRAM,
    TOKENS_AN_EXAMPLE_GRAM,
    WORDS_A_GRAM,
    KnownGrams,
    code_tokens,
    example_tokens,
    numbered,
    words_of,
)
from evolcoder.records import Instruction

_EXAMPLE = re.compile(r"^assert |\w\(.*\)\s*(?:==|=|->|➞|=>|returns?\b|should)")


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
    """When a row counts as a copy: by text, by code, by both, or by examples with some of the text.

    Calibrated on Code Alpaca and evol-teacher with planted copies (docs/evolve.md).
    """

    text: float = 0.3
    """Share of the problem's words in a row, three by three, weighted by rarity."""
    code: float = 0.5
    """Share of the token n-grams of solution and doctests."""
    both: float = 0.3
    """Share of all n-grams of text and code together."""
    text_evidence: float = 5.0
    """Least number of matching n-grams, each counting 1 if no other row holds it, less if many do."""
    code_evidence: float = 9.0
    both_evidence: float = 14.0
    least_of_both: float = 0.1
    """For "text and code": either must be there at least this much."""
    examples: float = 0.4
    """Share of the n-grams of the examples, of which the lengths of lists do not count."""
    examples_evidence: float = 3.0
    text_of_examples: float = 0.05
    """For "examples": this share of the words must be there too."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that copies a problem."""

    row_id: str
    benchmark: str
    task_id: str
    how: str
    """"text", "code", "text and code", "examples" or "embedding": where the copy was found."""
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


@dataclass(frozen=True, slots=True)
class Learnt:
    """In how many rows the n-grams of an index's problems occur."""

    rows: int
    rows_with: dict[int, int]
    """By the n-gram's number in the index."""


@dataclass(slots=True)
class _Indexed:
    problem: ProblemText
    text: set[int] = field(default_factory=set)
    code: set[int] = field(default_factory=set)
    examples: set[int] = field(default_factory=set)


class ContaminationIndex:
    """Problems, indexed; `learn` from rows first, then ask for `hits`."""

    def __init__(self, problems: Iterable[ProblemText], thresholds: Thresholds | None = None) -> None:
        self._thresholds = thresholds or Thresholds()
        self._number: dict[str, int] = {}
        self._text, self._code = KnownGrams(WORDS_A_GRAM), KnownGrams(TOKENS_A_GRAM)
        self._examples = KnownGrams(TOKENS_AN_EXAMPLE_GRAM)
        self._postings: list[list[int]] = []
        self._rows_with: list[int] = []
        self._rows = 0
        self._weights: list[float] = []
        """Of each n-gram; empty when rows were learnt since."""
        self._problems = [self._index(position, problem) for position, problem in enumerate(problems)]

    def __len__(self) -> int:
        return len(self._problems)

    @property
    def rows_learnt(self) -> int:
        """Rows that the weights were learnt from."""
        return self._rows

    def learn(self, rows: Iterable[Instruction]) -> None:
        """Count in how many rows each n-gram of a problem occurs."""
        self._weights = []
        for row in rows:
            self._rows += 1
            for number in self._grams_of(row):
                self._rows_with[number] += 1

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
        self._weights = self._weights or self._learn_weights()
        found = self._grams_of(row)
        matched = Counter(position for number in found for position in self._postings[number])
        limits = self._thresholds
        least = min(limits.text_evidence, limits.code_evidence, limits.examples_evidence)
        near = [self._problems[position] for position, count in matched.items() if count >= least]
        hits = [hit for indexed in near if (hit := self._compare(row, found, indexed))]
        return sorted(
            hits, key=lambda hit: (-max(hit.text_share, hit.code_share, hit.examples_share), hit.task_id)
        )

    def _compare(self, row: Instruction, found: set[int], indexed: _Indexed) -> Hit | None:
        limits = self._thresholds
        text_all, text_in = self._weigh(indexed.text, found)
        code_all, code_in = self._weigh(indexed.code, found)
        examples_all, examples_in = self._weigh(indexed.examples, found)
        text_share = text_in / text_all if text_all else 0.0
        examples_share = examples_in / examples_all if examples_all else 0.0
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
        if (
            not how
            and examples_share >= limits.examples
            and examples_in >= limits.examples_evidence
            and text_share >= limits.text_of_examples
        ):
            how = "examples"
        if not how:
            return None
        return hit_of(
            row,
            indexed.problem,
            how,
            text_share=round(text_share, 3),
            code_share=round(code_share, 3),
            examples_share=round(examples_share, 3),
            evidence=round(text_in + max(code_in, examples_in), 1),
        )

    def _weigh(self, grams: set[int], found: set[int]) -> tuple[float, float]:
        """Return the weight of a problem's n-grams and of those found; one in no other row weighs 1."""
        weights = self._weights
        return sum(weights[number] for number in grams), sum(weights[number] for number in grams & found)

    def _learn_weights(self) -> list[float]:
        scale = math.log(self._rows + len(self._problems) + 2)
        # The row under judgement is usually one of those learnt from; other problems count as rows, so that
        # a small data set knows what is common too.
        return [
            1 - math.log(1 + max(rows - 1, 0) + len(problems) - 1) / scale
            for rows, problems in zip(self._rows_with, self._postings, strict=True)
        ]

    def _index(self, position: int, problem: ProblemText) -> _Indexed:
        indexed = _Indexed(problem)
        words = words_of(problem.text)
        for start in self._text.add(words):
            indexed.text.add(self._add(" ".join(words[start : start + WORDS_A_GRAM]), position))
        solution, examples = _code_parts(problem)
        for part in (solution, examples):
            tokens, kinds = code_tokens(part)
            for start in self._code.add(kinds):
                if gram := numbered(tokens, kinds, start, TOKENS_A_GRAM):
                    indexed.code.add(self._add(f"# {gram}", position))
        tokens, kinds = example_tokens(examples)
        for start in self._examples.add(kinds):
            if gram := numbered(tokens, kinds, start, TOKENS_AN_EXAMPLE_GRAM):
                indexed.examples.add(self._add(f"> {gram}", position))
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
        question = f"{row.instruction}\n{row.input}"
        text = f"{question}\n{row.response}"
        words = words_of(text)
        grams = [" ".join(words[start : start + WORDS_A_GRAM]) for start in self._text.find(words)]
        tokens, kinds = code_tokens(text)
        for start in self._code.find(kinds):
            grams.append(f"# {numbered(tokens, kinds, start, TOKENS_A_GRAM)}")
        # Examples belong to the question; in an answer, calls of anything look like them.
        tokens, kinds = example_tokens(question)
        for start in self._examples.find(kinds):
            grams.append(f"> {numbered(tokens, kinds, start, TOKENS_AN_EXAMPLE_GRAM)}")
        known = self._number
        return {known[gram] for gram in grams if gram in known}


def _code_parts(problem: ProblemText) -> list[str]:
    """Return the solution under its signature, and the examples of the text, doctests with their output."""
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
