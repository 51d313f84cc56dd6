"""Find the block of an answer that defines a function, in any language, by what definitions look like."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evolcoder.extraction.grammar import has_grammar, syntax_error
from evolcoder.extraction.python_program import SPECIAL_TOKEN

_STATEMENT = (
    r"(?:if|while|for|switch|return|else|assert|throw|new|await|case|match|when|catch|do|and|or|not|in|print\w*|"
    r"echo|puts|cout)\b"
)
_COMMENT = r"(?:\s|//[^\n]*|#(?!\[)[^\n]*|--[^\n]*|/\*.*?\*/|\"\"\".*?\"\"\"|'''.*?''')*"
_NOT_WRITTEN = re.compile(
    _COMMENT + r"(?:throw\s+(?:new\s+)?[\w.:]*(?:NotImplemented|UnsupportedOperation)\w*"
    r"|throw\s[^;\n]*(?i:not\ implemented|todo)"
    r"|(?:todo|unimplemented)!|TODO\(|fatalError\(|\?\?\?|raise\s+NotImplementedError|pass\b|\.\.\.|:(?=\s)"
    r"|(?:panic|error|stop|die)\s*\(\s*[\"'`](?i:not\ implemented|todo))[^\n]*"
    + _COMMENT
    + r"(?:\}|end\b|\Z)"
    r"|" + _COMMENT + r"(?:\}|end\b|\Z)",
    re.DOTALL,
)

_BEGINS_CODE = re.compile(
    r"(?:#include|import|from|use|using|package|const|let|var|local|function|def|fn|func|fun|class|struct|enum|"
    r"public|private|static|pub|template|namespace|require|module|object)\b|[@#/{]|<\?"
)

_SPECIAL_AT_END = re.compile(rf"(?:(?:{SPECIAL_TOKEN.pattern})\s*)+\Z")


def definition(code: str, name: str) -> re.Match[str] | None:
    """Return where a function is defined (not called), up to what opens its body or its parameters."""
    if not name or name not in code:
        return None
    named = re.escape(name)
    keyword = rf"^[ \t]*(?:[\w()]+[ \t]+)*?(?:function|def|fn|func|fun)\*?[ \t]+(?:self\.)?{named}\b"
    # C and its kin, shell: a type or nothing, the name, parameters without a semicolon, then the body, soon:
    # a search to the text's end from every call would take quadratic time.
    function = (
        rf"^[ \t]*(?!{_STATEMENT})[^\n;=()\"'#.]*?(?<![\w.]){named}\s*(?:<[^<>\n]*>\s*)?"
        r"\((?:[^();{}]|\([^();{}]*\))*\)(?:[^;{}()=|\"]|\([^()]{0,200}\)){0,400}?\{"
    )
    assigned = (
        rf"^[^\n\"'`(]*?\b{named}\s*(?:<-|=|:[^=\n]*=)\s*(?:async\s*)?"
        r"(?:function\b|\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)[^\n;]*(?:=>|->)|lambda\b|->|\w+\s*=>|\\\()"
    )
    for pattern in (keyword, function, assigned):
        if match := re.search(pattern, code, re.MULTILINE):
            return match
    return None


def defining_block(blocks: Sequence[tuple[str, bool]], outside: str, name: str, language: str) -> str | None:
    """Return the last of blocks, as (code, closed), that defines a function whole, a sound one if any is."""
    written = [(code, closed) for code, closed in reversed(blocks) if _is_written(code, name)]
    defining = [code for code, closed in written if closed or _ends(code)]
    sound = (code for code in defining if has_grammar(language) and syntax_error(code, language) is None)
    broken_off = (code for code, _ in written)
    stubs = (code for code, _ in reversed(blocks) if definition(code, name))
    found = next(sound, None) or next(iter(defining), None)
    if found is None and _is_written(outside, name):
        return _without_prose(_SPECIAL_AT_END.sub("\n", outside), name)
    found = found or next(broken_off, None) or next(stubs, None)
    return None if found is None else _SPECIAL_AT_END.sub("\n", found)


def _without_prose(text: str, name: str) -> str:
    """Drop the lines before the first that looks like code, and those after the last."""
    match = definition(text, name)
    first = text[: match.start()].count("\n") if match else 0
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines[:first]) if _BEGINS_CODE.match(line)), first)
    ends = ("}", "end", ";", "?>")
    last = max((n for n, line in enumerate(lines) if line.rstrip().endswith(ends)), default=-1)
    return "\n".join(lines[first : last + 1 if last > first else len(lines)]) + "\n"


def _is_written(code: str, name: str) -> bool:
    """Whether code defines the function with a body: not empty, not one that says it is still to come."""
    match = definition(code, name)
    if match is None:
        return False
    body = code[match.end() :]
    if not match[0].endswith("{"):
        opening = re.match(r"[^\n]*?\{|[^\n]*?=\s*(?=\?\?\?)|[^\n]*?=>|[^\n]*\n", body)
        body = body[opening.end() :] if opening else body
    return _NOT_WRITTEN.match(body) is None


def _ends(code: str) -> bool:
    """Whether a block that broke off may be whole: its brackets are closed, its last line ends something."""
    last = code.rstrip().rsplit("\n", 1)[-1].strip()
    return code.count("{") == code.count("}") and last.endswith(("}", "end", ";", ")", "]"))
