"""What the languages' grammars say of a text: is it sound, and which top-level definitions does it hold.

Python is parsed by its own parser; other languages by tree-sitter, which never fails.
"""

from __future__ import annotations

import ast
import importlib
import re
import types
import warnings
from functools import cache, lru_cache

from tree_sitter import Language, Node, Parser

_NAMES = ("python", "javascript", "typescript", "cpp", "go", "rust", "java", "php", "ruby", "bash", "sql")
_GRAMMARS = {name: name for name in _NAMES} | {"c": "cpp", "shell": "bash", "sh": "bash"}
"""By language, the name of its package behind "tree_sitter_"."""


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
"""To compile as much takes at most 0.1 s and 15 MiB if `_may_cost_much` does not tell; a million 20 s."""
_FOLDED_BYTES = 1 << 20
_REPEATED_BYTES = 1 << 14
"""What the compiler makes of one `'x' * 4096` (4 bytes a character), or of a repeated tuple, at most."""
_SCOPE_CHARACTERS = 400_000
_SCOPES = ("lambda", "def", "class", "for")


@lru_cache(maxsize=16)
def compiled_python(code: str, name: str = "<program>") -> types.CodeType | str | None:
    """Return a program compiled, never executed, or "line N: what is wrong"; None for what may cost much."""
    if len(code) > _COMPILED_HERE_CHARACTERS or _may_cost_much(code):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(code, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _what_is_wrong(code, error)


def _may_cost_much(code: str) -> bool:
    """Tell, from words alone, of a short program that may be costly to compile.

    The body of a `finally` is compiled once for each way out of it (2**19 times where 19 are nested). Every
    `+` of constants makes a constant of all before it (`'a' * 4096 + 'a' * 4096 + ...`: 6 GB). A name that is
    read through nested scopes is passed on by each, for a time that grows with their square (and a thousand
    scopes cannot be marshalled).
    """
    folded_bytes = (code.count("+") + 1) * (code.count("*") * _REPEATED_BYTES + 4 * len(code))
    scopes = sum(map(code.count, _SCOPES))
    return "finally" in code or folded_bytes > _FOLDED_BYTES or scopes * len(code) > _SCOPE_CHARACTERS


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
    parser = parser_for(language)
    if parser is None:
        return None
    root = parser.parse(code.encode("utf-8", "replace")).root_node
    return f"line {_first_error_line(root)}: not {language}" if root.has_error else None


def _what_is_wrong(code: str, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno or 1}: {error.msg}"
    if isinstance(error, UnicodeEncodeError):
        return f"line {1 + code.count(chr(10), 0, error.start)}: a lone surrogate is not text"
    return f"line 1: {error}" if isinstance(error, ValueError) else "line 1: nested too deeply"


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
def parser_for(language: str) -> Parser | None:
    """Return the tree-sitter parser of a language; None where there is no grammar."""
    if language not in _GRAMMARS:
        return None
    package = importlib.import_module(f"tree_sitter_{_GRAMMARS[language]}")
    grammar = package.language if hasattr(package, "language") else getattr(package, f"language_{language}")
    return Parser(Language(grammar()))


_GOES_ON = re.compile(r"(?:else|elif|except|finally)\b")
_UNFINISHED = re.compile(
    r"was never closed|unterminated triple-quoted|unexpected EOF|expected (?:'except'|an indented block)"
)
_MOST_PARTS = 40
_MOST_READ = 6
"""How often, on average, a text is read for its statements; what is left then is taken for prose."""


def sound_pieces(code: str) -> list[str]:
    """Return the sound top-level Python statements of a text that also holds prose or breaks off."""
    parts = re.split(r"\n(?=\S)", code)
    pieces = []
    left = _MOST_READ * len(code) + 10_000
    at = 0
    while at < len(parts) and left > 0:
        end, n_read = _end_of_statement(parts, at)
        left -= n_read
        if end > at and not parts[at].startswith(("#", "- ", "* ", "+ ")):
            pieces.append("\n".join(parts[at:end]))
        at = max(end, at + 1)
    return pieces


def _end_of_statement(parts: list[str], at: int) -> tuple[int, int]:
    """Return (before which part the statement that begins with one ends, that one for prose; work done)."""
    found = at
    n_read = 0
    for end in range(at + 1, min(at + _MOST_PARTS, len(parts)) + 1):
        if found > at and not _GOES_ON.match(parts[end - 1]):
            break
        piece = "\n".join(parts[at:end])
        n_read += len(piece) + (20 if end == at + 1 else 60)  # to start the parser takes a while too
        wrong = syntax_error(piece, "python")
        if wrong is None:
            found = end
        elif not (parts[end - 1].startswith("@") or _UNFINISHED.search(wrong)):
            break
    return found, n_read
