"""From a model's answer to the solution that DS-1000's tests take."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from functools import lru_cache

from evolcoder.extraction import Extraction
from evolcoder.extraction.code_blocks import (
    CodeBlock,
    block_of,
    code_blocks,
    language_blocks,
    some_blocks,
    without_thinking,
)
from evolcoder.extraction.definitions import defining_block
from evolcoder.extraction.grammar import parse_python
from evolcoder.extraction.python_program import without_special_tokens

STOPS = ("</code>", "# SOLUTION END", "\nEND SOLUTION")
"""Where a continued prompt ends; not at "### END SOLUTION", after which the function it stands in returns."""

_NO_PROGRAM = ("text", "txt", "plaintext", "output", "console", "bash", "sh", "shell")
"""Labels of blocks that show what a program prints, or how to install it."""
_BODY = re.compile(r"^def[ \t]+(\w+)\(.*\)[^\n]*:[ \t]*\n\[insert\]", re.MULTILINE)
_CONTEXT = re.compile(r'exec_context = r"""(.*?)\[insert\](.*?)"""', re.DOTALL)
_HEADER_END = re.compile(r":[ \t]*(?:#.*)?$")


def solution_of(raw: str, tests: str, how: Extraction = "auto") -> str:
    """Return the solution in an answer: within `<code>` tags or a fence, up to the end mark.

    Of several blocks it is the last that sets or changes what the tests look at, defines the function that
    they call, or returns as its body does; the first that does more than import where none does. With
    `first`, `fence` or `last` as `how` it is the one of that place. Where the tests want the body of a
    function, a whole function gives its body, and a body without indentation is indented.
    Never raises.
    """
    text = without_thinking(raw).replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    text = without_special_tokens(text)
    _, tag, tagged = text.partition("<code>")
    if tag and not any(mark in text[: text.index("<code>")] for mark in STOPS):
        text = tagged
    text = _before(text, STOPS)
    if "```" in text or "~~~" in text:
        blocks = code_blocks(text)
        # An answer that goes on in the prompt's block closes a fence which it did not open.
        text = _chosen(blocks, tests, how) if blocks and _opens_a_block(text) else text.split("```")[0]
        text = _before(text.replace("<code>", ""), STOPS)
    match = _BODY.search(tests)
    return _as_body(text, match[1]) if match else text


def _chosen(blocks: list[CodeBlock], tests: str, how: Extraction) -> str:
    if how in ("first", "fence", "last"):
        return block_of(blocks, "python", how) or ""
    some = some_blocks([block for block in blocks if block.language not in _NO_PROGRAM])
    if body := _BODY.search(tests):
        found = defining_block(some, "", body[1], "python")
        found = found or next((code for code, _ in reversed(some) if _is_body(code)), None)
    else:
        sets = _sets(tests)
        sound = (code for code, _ in reversed(some) if parse_python(code) is not None)
        found = next((code for code in sound if sets.search(code)), None)
    likely = [block.code for block in language_blocks(blocks, "python")]
    return found or next((code for code in likely if not _only_imports(code)), likely[0])


def _is_body(code: str) -> bool:
    """Whether code returns outside of a function: it is the body that is asked for."""
    inside = f"def f():\n{textwrap.indent(textwrap.dedent(code), ' ')}"
    return "return" in code and parse_python(code) is None and parse_python(inside) is not None


def _only_imports(code: str) -> bool:
    tree = parse_python(code)
    return tree is not None and all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body)


@lru_cache(maxsize=2048)
def _sets(tests: str) -> re.Pattern[str]:
    """A pattern for code that sets a name which the tests read after the solution, or changes a given one."""
    context = _CONTEXT.search(tests)
    before, after = (parse_python(part) for part in context.groups()) if context else (None, None)
    read, bound = _names(after)
    _, given = _names(before)
    new = read - bound - given
    known = set() if new else read & given
    names = "|".join(map(re.escape, sorted(new or known))) or "result"
    # A given name may also be changed in place: df.drop(columns="a", inplace=True).
    set_new = rf"[^\n=#(]*\b(?:{names})\b[^\n=(]*=(?!=)|(?:def|class)[ \t]+(?:{names})\b"
    changed = rf"[ \t]*(?:{names})\b[^\n]*?(?<![=!<>])=(?!=)"
    return re.compile(f"^(?:{changed if known else set_new})", re.MULTILINE)


def _names(tree: ast.Module | None) -> tuple[set[str], set[str]]:
    names = [node for node in (ast.walk(tree) if tree else ()) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    return read, {node.id for node in names} - read


def _before(text: str, marks: tuple[str, ...]) -> str:
    found = [at for mark in marks if (at := text.find(mark)) >= 0]
    return text[: min(found)] if found else text


def _opens_a_block(text: str) -> bool:
    """Whether the first fence opens a block: it has a label, or another one closes it."""
    fences = re.findall(r"^[ \t]*(?:```+|~~~+)[ \t]*(\S*)", text, re.MULTILINE)
    return bool(fences) and (bool(fences[0]) or len(fences) > 1)


def _as_body(code: str, name: str) -> str:
    lines = code.split("\n")
    start = next(
        (i for i, line in enumerate(lines) if re.match(rf"def[ \t]+{re.escape(name)}\b", line)), None
    )
    if start is not None:
        header_end = (i for i in range(start, len(lines)) if _HEADER_END.search(lines[i]))
        first = next(header_end, len(lines) - 1) + 1
        body = list(_until_outdented(lines[first:]))
        return "\n".join([*_indented(lines[:start]), *body])
    written = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    return "\n".join(_indented(lines)) if written and not written[0].isspace() else code


def _indented(lines: list[str]) -> list[str]:
    return textwrap.indent("\n".join(lines), "    ").split("\n") if lines else []


def _until_outdented(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.strip() and not line[0].isspace():
            return
        yield line
