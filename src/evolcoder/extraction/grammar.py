"""What the languages' grammars say of a text: is it sound, and which top-level definitions does it hold.

Python is parsed by its own parser; other languages, and broken Python, by tree-sitter, which never fails.
"""

from __future__ import annotations

import ast
import importlib
import types
import warnings
from functools import cache, lru_cache

from tree_sitter import Language, Node, Parser

# language -> (package, function that returns the grammar)
_GRAMMARS = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "cpp": ("tree_sitter_cpp", "language"),
    "c": ("tree_sitter_cpp", "language"),
    "go": ("tree_sitter_go", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "java": ("tree_sitter_java", "language"),
    "php": ("tree_sitter_php", "language_php"),
    "ruby": ("tree_sitter_ruby", "language"),
    "bash": ("tree_sitter_bash", "language"),
    "shell": ("tree_sitter_bash", "language"),
    "sh": ("tree_sitter_bash", "language"),
    "sql": ("tree_sitter_sql", "language"),
}


def parse_python(code: str) -> ast.Module | None:
    """Return the syntax tree, or None for what Python cannot parse (NUL, surrogates, absurd nesting)."""
    return _parsed_again(code) if len(code) < _KEPT_CHARACTERS else _sound(code)


_KEPT_CHARACTERS = 4_000
"""A longer program's tree is not kept: it takes up to 800 times the text's memory."""


def _sound(code: str) -> ast.Module | None:
    try:
        return _parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_parsed_again = lru_cache(maxsize=16)(_sound)
"""An answer's text is looked at in several ways, often the same."""


def _parsed(code: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape in generated code is not our user's warning
        return ast.parse(code)


_COMPILED_HERE_CHARACTERS = 16_000
"""To compile as much takes at most 0.1 s and 15 MiB, whatever it says; a million took 20 s and 500 MiB."""


@lru_cache(maxsize=64)
def compiled_python(code: str) -> types.CodeType | str | None:
    """Return a program compiled for this Python, or "line N: what is wrong" with it. Never executed here.

    None for what could take long to compile, or gigabytes, and is left to the sandbox: a long program, or one
    with `finally`, whose body is compiled once for each way out of it (2**19 times where 19 are nested).
    """
    if len(code) > _COMPILED_HERE_CHARACTERS or "finally" in code:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(code, "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _what_is_wrong(code, error)


def has_grammar(language: str) -> bool:
    """Return whether `syntax_error` can judge a language."""
    return language == "python" or language in _GRAMMARS


def syntax_error(code: str, language: str) -> str | None:
    """Return "line N: what is wrong", or None for sound code and for a language without a grammar."""
    if language == "python":
        try:
            _parsed(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return _what_is_wrong(code, error)
        return None
    parser = _parser(language)
    if parser is None:
        return None
    root = parser.parse(code.encode("utf-8", "replace")).root_node
    return f"line {_first_error_line(root)}: not {language}" if root.has_error else None


def _what_is_wrong(code: str, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno or 1}: {error.msg}"
    if isinstance(error, UnicodeEncodeError):
        return f"line {1 + code.count(chr(10), 0, _first_surrogate(code))}: a lone surrogate is not text"
    return f"line 1: {error}" if isinstance(error, ValueError) else "line 1: nested too deeply"


def _first_surrogate(code: str) -> int:
    return next((at for at, char in enumerate(code) if "\ud800" <= char <= "\udfff"), 0)


def _first_error_line(root: Node) -> int:
    """Follow the first erroneous child down; recursion-free, so any depth will do."""
    node = root
    while not (node.is_error or node.is_missing):
        child = next((c for c in node.children if c.has_error or c.is_missing), None)
        if child is None:
            break
        node = child
    return node.start_point.row + 1


@cache
def _parser(language: str) -> Parser | None:
    if language not in _GRAMMARS:
        return None
    package, function = _GRAMMARS[language]
    return Parser(Language(getattr(importlib.import_module(package), function)()))


def sound_pieces(code: str) -> list[str]:
    """Return the sound top-level Python statements of a text that also holds prose or breaks off."""
    data = code.encode("utf-8", "replace")
    parser = _parser("python")
    assert parser is not None
    pieces = []
    for node in parser.parse(data).root_node.children:
        if node.start_point.column == 0 and not node.is_error and node.type != "comment":
            rest = data[node.end_byte : data.find(b"\n", node.end_byte)].strip()
            if node.type == "expression_statement" and rest and rest[:1] not in b"#;":
                continue  # the first words of a sentence
            piece = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
            if parse_python(piece) is not None:
                pieces.append(piece)
    return pieces
