"""Which snippets of a code base a teacher is shown, and which functions are held out of them.

Held out are Python functions with a docstring, chosen by the hash of their words: seeds and the private
benchmark, made apart and in any order, choose the same. A snippet is none of them, holds none, calls none
that is shown with it, and is no copy of one in other words or with other names.
"""

from __future__ import annotations

import ast
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from evolcoder.code_base.secret_rules import secret_in
from evolcoder.code_base.snippets import Definition, Snippet, definitions, mark_of, snippets
from evolcoder.code_base.source_files import CodeBase, SourceFile, checked_languages, source_files
from evolcoder.errors import UserError
from evolcoder.evolve.decontamination import ContaminationIndex
from evolcoder.evolve.duplicates import DuplicateIndex, Text
from evolcoder.evolve.methods import fraction_of
from evolcoder.extraction.grammar import parse_python
from evolcoder.records import Instruction, Lineage, ProblemText

_NEAR = 0.8
"""Similarity from which two snippets are copies: code shares more words than prose does."""


@dataclass(frozen=True, slots=True)
class CodeSettings:
    """What is taken of a code base."""

    languages: tuple[str, ...] = ()
    """Names of languages; all that are read where empty."""
    per_file: int = 3
    """Most snippets of one file."""
    limit: int | None = None
    """Most snippets in all, chosen at random."""
    licences: tuple[str, ...] = ()
    """SPDX identifiers that are allowed besides the permissive ones."""
    held_out: float = 0.2
    """Share of the Python functions with a docstring that is kept for the private benchmark."""
    seed: int = 0
    """Every random choice follows from it, but for what is held out."""

    def __post_init__(self) -> None:
        checked_languages(self.languages)
        if self.per_file < 1:
            raise UserError(f"per_file must be at least 1, found {self.per_file}")
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out must be at least 0 and below 1, found {self.held_out}")


@dataclass(slots=True)
class CodeCounts:
    """What became of a code base's files and definitions."""

    files: int = 0
    """Files that were read."""
    files_left_out: Counter[str] = field(default_factory=Counter)
    """By rule."""
    snippets: int = 0
    """Chosen."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Functions and classes, by rule; "not chosen" are those beyond `per_file` and `limit`."""

    def plain(self) -> dict[str, Any]:
        """Return the counts as JSON-clean data."""
        return plain_counts(self)

    @property
    def told(self) -> str:
        """What was read and left out, in words."""
        return (
            f"{self.files} files read; files left out: {counted(self.files_left_out)}; "
            f"functions and classes left out: {counted(self.left_out)}"
        )


def plain_counts(counts: Any) -> dict[str, Any]:
    """Return the fields of a dataclass of counts as JSON-clean data."""
    found = {one.name: getattr(counts, one.name) for one in fields(counts)}
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in found.items()}


def counted(counts: Mapping[str, int]) -> str:
    """Return "12 tests, 3 vendored" of counts, the largest first; "none" of nothing."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n} {name}" for name, n in ordered) or "none"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A function that is held out of training."""

    file: SourceFile
    definition: Definition


def held_out_functions(
    code_bases: Sequence[CodeBase], settings: CodeSettings, counts: CodeCounts
) -> Iterator[HeldOut]:
    """Yield the functions that seeds never see, in the order of their files."""
    for code_base in code_bases:
        for file in source_files(code_base, ("python",), settings.licences, counts.files_left_out):
            counts.files += 1
            for definition in definitions(file):
                fraction = fraction_of("held out", mark_of(definition.text))
                if fraction < settings.held_out and _may_be_held_out(definition):
                    yield HeldOut(file, definition)


def chosen_snippets(
    code_bases: Sequence[CodeBase], settings: CodeSettings
) -> tuple[list[Snippet], list[HeldOut], CodeCounts]:
    """Return the snippets to show, in the order of their places, the functions held out, and the counts."""
    counts = CodeCounts()
    held_out = list(held_out_functions(code_bases, settings, CodeCounts()))
    withheld = {mark_of(item.definition.text) for item in held_out}
    index = DuplicateIndex(_NEAR)
    index.add_all(Text(item.definition.text, f"held out {n}") for n, item in enumerate(held_out))
    chosen: list[Snippet] = []
    languages = checked_languages(settings.languages)
    for code_base in code_bases:
        for file in source_files(code_base, languages, settings.licences, counts.files_left_out):
            counts.files += 1
            found = list(snippets(file, withheld, counts.left_out))
            found = _without_copies(found, index, len(held_out), counts)
            chosen += _of_one_file(found, settings, counts)
    chosen = _without_the_held_out(chosen, held_out, counts)
    if settings.limit is not None and len(chosen) > settings.limit:
        counts.left_out["not chosen"] += len(chosen) - settings.limit
        few = {s.id for s in heapq.nsmallest(settings.limit, chosen, key=lambda s: _rank(s, settings.seed))}
        chosen = [snippet for snippet in chosen if snippet.id in few]
    counts.snippets = len(chosen)
    return chosen, held_out, counts


def problem_texts_of(held_out: Sequence[HeldOut]) -> list[ProblemText]:
    """Return functions that are held out, as decontamination compares them."""
    return [
        ProblemText("the private benchmark", f"{item.file.path}:{item.definition.name}", text, text)
        for item in held_out
        if (text := item.definition.text)
    ]


def _without_the_held_out(
    chosen: list[Snippet], held_out: Sequence[HeldOut], counts: CodeCounts
) -> list[Snippet]:
    """Drop snippets that copy a function that is held out with other names, or say what it does."""
    index = ContaminationIndex(problem_texts_of(held_out))
    rows = [Instruction(s.id, "", "", f"```{s.file.language}\n{s.shown}\n```", Lineage(s.id)) for s in chosen]
    index.learn(rows)
    clean = [snippet for snippet, row in zip(chosen, rows, strict=True) if not index.hits(row)]
    if len(clean) < len(chosen):
        counts.left_out["like a held-out function"] += len(chosen) - len(clean)
    return clean


def _without_copies(
    found: list[Snippet], index: DuplicateIndex, n_held_out: int, counts: CodeCounts
) -> list[Snippet]:
    """Drop snippets that repeat an earlier one, or a function that is held out."""
    texts = [Text(snippet.definition.text, snippet.id) for snippet in found]
    new = []
    for snippet, repeated in zip(found, index.add_new(texts), strict=True):
        if repeated is None:
            new.append(snippet)
        elif repeated.row < n_held_out:
            counts.left_out["near copy of a held-out function"] += 1
        else:
            counts.left_out["duplicate" if repeated.similarity == 1 else "near duplicate"] += 1
    return new


def _of_one_file(found: list[Snippet], settings: CodeSettings, counts: CodeCounts) -> list[Snippet]:
    """Return the snippets of a file that are chosen, none with a secret."""
    chosen: list[Snippet] = []
    for looked_at, snippet in enumerate(sorted(found, key=lambda s: _rank(s, settings.seed))):
        if len(chosen) == settings.per_file:
            counts.left_out["not chosen"] += len(found) - looked_at
            break
        if kind := secret_in(f"{snippet.file.path}\n{snippet.shown}", snippet.file.path):
            counts.left_out[f"secret: {kind}"] += 1
        else:
            chosen.append(snippet)
    return sorted(chosen, key=lambda snippet: snippet.definition.first_line)


def _rank(snippet: Snippet, seed: int) -> tuple[float, str]:
    return fraction_of("snippet", seed, snippet.id), snippet.id


def _may_be_held_out(definition: Definition) -> bool:
    """Whether a definition is a plain function of a module with a docstring."""
    if definition.is_class or not definition.is_top or not definition.text.startswith("def "):
        return False
    tree = parse_python(definition.text)
    function = tree.body[0] if tree is not None and tree.body else None
    return isinstance(function, ast.FunctionDef) and ast.get_docstring(function) is not None
