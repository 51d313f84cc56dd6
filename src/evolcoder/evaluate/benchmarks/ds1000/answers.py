"""From a model's answer to the solution that DS-1000's tests take."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from evolcoder.extraction.code_blocks import code_blocks, language_blocks, without_thinking

STOPS = ("</code>", "# SOLUTION END", "\nEND SOLUTION")
"""Where a continued prompt ends; not at "### END SOLUTION", after which the function it stands in returns."""

_BODY = re.compile(r"^def[ \t]+(\w+)\(.*\)[^\n]*:[ \t]*\n\[insert\]", re.MULTILINE)
_HEADER_END = re.compile(r":[ \t]*(?:#.*)?$")


def solution_of(raw: str, tests: str) -> str:
    """Return the solution in an answer: within `<code>` tags or the first Python fence, up to the end mark.

    Where the tests want the body of a function, a whole function gives its body, and a body without
    indentation is indented. Never raises.
    """
    text = without_thinking(raw).replace("\r\n", "\n").replace("\r", "\n")
    _, tag, tagged = text.partition("<code>")
    if tag and "</code>" not in text[: text.index("<code>")]:
        text = tagged
    text = _before(text, STOPS)
    if "```" in text or "~~~" in text:
        blocks = language_blocks(code_blocks(text), "python")
        # An answer that goes on in the prompt's block closes a fence which it did not open.
        text = blocks[0].code if blocks and _opens_a_block(text) else text.split("```")[0]
        text = _before(text.replace("<code>", ""), STOPS)
    match = _BODY.search(tests)
    return _as_body(text, match[1]) if match else text


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
