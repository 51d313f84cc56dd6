"""Functions and classes of a source file, each with what it calls in that file, by tree-sitter's grammars.

A definition that is too long is left out, but what a long class or module holds is looked at; what is too
short says nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tree_sitter import Node

from evolcoder.code_base.source_files import SourceFile
from evolcoder.extraction.grammar import parse_python, parser_for
from evolcoder.runs import content_hash

_FUNCTIONS = frozenset(
    {
        *("function_definition", "function_declaration", "generator_function_declaration", "function_item"),
        *("method_definition", "method_declaration", "constructor_declaration", "method", "singleton_method"),
    }
)
_CLASSES = frozenset(
    {
        *("class_definition", "class_declaration", "class_specifier", "struct_specifier", "class"),
        *("interface_declaration", "trait_declaration", "impl_item"),
    }
)
_BRANCHES = frozenset({"block", "statement_block", "if_statement", "try_statement"})
_WRAPPERS = frozenset({"decorated_definition", "export_statement"})
_FEWEST_LINES, _MOST_LINES = 4, 80
_MOST_CHARACTERS = 4000
_CALLED_CHARACTERS = 2000
"""Of the definitions that a snippet calls, which are shown after it."""
_DEEPEST = 200
"""Nesting beyond which a tree is not followed."""
_WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or class of a file."""

    name: str
    text: str
    """From the first of its decorators to its end, as deep as it stands."""
    first_line: int
    last_line: int
    is_class: bool
    is_top: bool
    """Whether it stands in nothing else."""
    inner: tuple[str, ...]
    """Marks (see `mark_of`) of this definition and of all within it."""
    is_sound: bool = True
    """Whether it parses."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A definition with what it calls: what a teacher is shown."""

    file: SourceFile
    definition: Definition
    called: tuple[Definition, ...]

    @property
    def id(self) -> str:
        """Names the snippet by its place and its text."""
        return content_hash(self.file.code_base.name, self.file.path, self.shown)[:16]

    @property
    def shown(self) -> str:
        """The text that is sent to the teacher."""
        return "\n\n\n".join(part.text for part in (self.definition, *self.called))

    @property
    def source(self) -> dict[str, Any]:
        """The columns that say where a row comes from."""
        return source_of(self.file, self.definition)


def source_of(file: SourceFile, definition: Definition) -> dict[str, Any]:
    """Return the columns that say where a row or a problem comes from."""
    return {
        "repository": file.code_base.name,
        "file": file.path,
        "lines": f"{definition.first_line}-{definition.last_line}",
        "commit": file.code_base.commit,
        "license": file.licence,
    }


def mark_of(text: str) -> str:
    """Return what is the same for copies of a definition: its words and signs, whatever the spacing."""
    return content_hash(" ".join(_WORDS.findall(text)))[:16]


def definitions(file: SourceFile) -> list[Definition]:
    """Return the functions and classes of a file, those within classes too, in the order they begin."""
    parser = parser_for(file.language)
    assert parser is not None
    data = file.text.encode("utf-8", "replace")
    return list(_definitions(parser.parse(data).root_node, data, is_top=True, depth=0))


def snippets(
    file: SourceFile, withheld: frozenset[str] | set[str], left_out: Counter[str]
) -> Iterator[Snippet]:
    """Yield the snippets of a file; count in `left_out` why definitions make none.

    Definitions with a mark in `withheld` are in no snippet: not as itself, within it, or called by it.
    """
    found = definitions(file)
    by_name: dict[str, Definition] = {}
    for definition in found:
        by_name.setdefault(definition.name, definition)
    covered = 0
    for definition in found:
        if definition.last_line <= covered:
            continue  # a method of a class that is a snippet itself
        n_lines = definition.last_line - definition.first_line + 1
        if n_lines < _FEWEST_LINES:
            left_out["too short"] += 1
        elif n_lines > _MOST_LINES or len(definition.text) > _MOST_CHARACTERS:
            left_out["too long"] += 1
        elif not definition.is_sound or (file.language == "python" and not parse_python(definition.text)):
            left_out["does not parse"] += 1
        elif not withheld.isdisjoint(definition.inner):
            left_out["held out for the private benchmark"] += 1
            covered = max(covered, 0 if definition.is_class else definition.last_line)
        else:
            covered = definition.last_line
            yield Snippet(file, definition, _called(definition, by_name, withheld))


def _called(
    definition: Definition, by_name: Mapping[str, Definition], withheld: frozenset[str] | set[str]
) -> tuple[Definition, ...]:
    """Return definitions of the same file that a definition names, in the order it does, as many as fit."""
    called: list[Definition] = []
    room = _CALLED_CHARACTERS
    for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", definition.text)):
        other = by_name.get(name)
        if other is None:
            continue
        if other.last_line >= definition.first_line and other.first_line <= definition.last_line:
            continue  # itself, or what holds it
        if len(other.text) <= room and withheld.isdisjoint(other.inner):
            called.append(other)
            room -= len(other.text)
    return tuple(called)


def _definitions(node: Node, data: bytes, *, is_top: bool, depth: int) -> Iterator[Definition]:
    for child in node.named_children:
        inner = _wrapped(child)
        is_class = inner.type in _CLASSES
        name = _name_of(inner) if is_class or inner.type in _FUNCTIONS else ""
        if depth >= _DEEPEST:
            continue
        if not name:
            at_top = is_top and child.type not in _BRANCHES
            yield from _definitions(child, data, is_top=at_top, depth=depth + 1)
            continue
        within = list(_definitions(inner, data, is_top=False, depth=depth + 1))
        text = _text(child, data)
        marks = (mark_of(text), *(mark for part in within for mark in part.inner))
        first, last = child.start_point.row + 1, child.end_point.row + 1
        yield Definition(name, text, first, last, is_class, is_top, marks, not inner.has_error)
        if is_class:
            yield from within


def _wrapped(node: Node) -> Node:
    """Return the definition under decorators or an export; any other node as it is."""
    if node.type not in _WRAPPERS:
        return node
    return node.child_by_field_name("definition") or node.child_by_field_name("declaration") or node


def _name_of(node: Node) -> str:
    """Return the name that a definition gives; "" for one without."""
    for field in ("name", "declarator", "type"):
        named: Node | None = node.child_by_field_name(field)
        while named is not None and named.child_by_field_name("declarator") is not None:
            named = named.child_by_field_name("declarator")  # C: a pointer to a function of parameters
        if named is not None and named.text is not None:
            return named.text.decode("utf-8", "replace")
    return ""


def _text(node: Node, data: bytes) -> str:
    """Return a node's text, as if it stood at the left margin."""
    text = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
    indent = node.start_point.column
    if not indent:
        return text
    first, *rest = text.split("\n")
    return "\n".join([first, *(line[indent:] if line[:indent].isspace() else line for line in rest)])
