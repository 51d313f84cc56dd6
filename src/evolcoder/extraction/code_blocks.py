"""From a model's answer to the program that is judged: fenced blocks, and the four named extractions.

- `none`: the answer is the program.
- `wizardcoder`: the published post-processing of the WizardCoder evaluation, quirks included; it reproduces
  the published files row by row.
- `fence`: the first fenced block of the language (or the first without a label).
- `auto`: by the language's grammar; the function asked for and what it needs, never an example block.

Every function takes any text (lone surrogates and NUL included), runs in time about linear in its length,
and executes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from evolcoder.extraction import python_program
from evolcoder.extraction.grammar import syntax_error

__all__ = ["CodeBlock", "Extraction", "code_blocks", "extract", "syntax_error", "without_thinking"]

Extraction = Literal["wizardcoder", "fence", "auto", "none"]

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*(.*)")
_LABEL = re.compile(r"\{?\.?([A-Za-z0-9+#_.-]*)")

_LABELS = {
    "python": {"python", "py", "python3", "py3", "ipython", "python2", "gyp"},
    "javascript": {"javascript", "js", "node", "mjs", "jsx"},
    "typescript": {"typescript", "ts", "tsx"},
    "cpp": {"cpp", "c++", "cxx", "cc"},
    "csharp": {"csharp", "cs", "c#"},
    "shell": {"bash", "sh", "shell", "zsh"},
    "rust": {"rust", "rs"},
    "go": {"go", "golang"},
    "ruby": {"ruby", "rb"},
    "php": {"php"},
    "java": {"java"},
    "sql": {"sql", "mysql", "postgresql", "postgres", "sqlite", "plsql", "tsql"},
}

# Longer answers get the fence rule instead of the grammar: no program of a benchmark comes near, and a parser
# fed megabytes of noise costs seconds and gigabytes.
_GRAMMAR_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block of a text."""

    language: str
    """The fence's label in lower case, "" where it has none."""
    code: str
    """What stands between the fences, without the fence's own indentation; ends in a newline unless empty."""
    closed: bool = True
    """False where the text ended before a closing fence."""


@dataclass(frozen=True, slots=True)
class PublishedCuts:
    """How the published post-processing of one benchmark differs from that of another."""

    marks: tuple[str, ...] = ()
    """Texts that end a program, beside the two that end it everywhere."""
    closing: str = "```"
    """What closes the fenced block."""
    keeps_returns: bool = False
    """Whether carriage returns stay."""


HUMANEVAL_CUTS = PublishedCuts()
"""Those of `process_humaneval.py`."""


def code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced blocks of a text in order (``` or ~~~, indented too), the last maybe unclosed."""
    blocks: list[CodeBlock] = []
    fence, indent, label = "", "", ""
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        match = _FENCE.fullmatch(line)
        if not fence:
            # An info string with a backtick is inline code, not a fence (CommonMark 4.5).
            if match and not (match[2][0] == "`" and "`" in match[3]):
                indent, fence, label = match[1], match[2], _label(match[3])
                lines = []
        elif match and match[2].startswith(fence) and not match[3].strip():
            blocks.append(CodeBlock(label, _joined(lines), True))
            fence = ""
        else:
            lines.append(line.removeprefix(indent))
    if fence:
        blocks.append(CodeBlock(label, _joined(lines), False))
    return blocks


def _label(info: str) -> str:
    match = _LABEL.match(info)
    return match[1].lower() if match else ""


def _joined(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def without_thinking(text: str) -> str:
    """Return the answer without its reasoning: `<think>...</think>`, or all up to a lone `</think>`.

    Reasoning that was cut off before its end leaves what stood before it.
    """
    head, start, _ = text.partition("<think>")
    before_end, end, after = text.rpartition("</think>")
    if end and ("<think>" not in after):
        kept = head if start and len(head) < len(before_end) else ""
        return kept + after
    return head if start else text


def language_blocks(blocks: list[CodeBlock], language: str) -> list[CodeBlock]:
    """Return the blocks labelled with the language; else those without a label; else all."""
    names = _LABELS.get(language, {language})
    for wanted in (names, {""}):
        chosen = [block for block in blocks if block.language in wanted]
        if chosen:
            return chosen
    return blocks


def extract(
    raw: str,
    how: Extraction,
    *,
    entry_point: str = "",
    prompt: str = "",
    cuts: PublishedCuts = HUMANEVAL_CUTS,
    language: str = "python",
) -> str:
    """Return the program, or the continuation of `prompt`, that an answer holds.

    `entry_point` and `prompt` (code that the program may continue, or "") guide `auto` only, `cuts` only
    `wizardcoder`. Raises ValueError for an unknown `how`.
    """
    if how == "none":
        return raw
    if how == "wizardcoder":
        return _wizardcoder(raw, cuts)
    text = without_thinking(raw)
    if how == "fence" or (how == "auto" and len(text) > _GRAMMAR_LIMIT):
        return _fence(text, language)
    if how == "auto":
        if language != "python":
            return _auto_by_grammar(text, entry_point, language)
        return _auto_python(text, entry_point, prompt)
    raise ValueError(f"extraction {how!r}: one of wizardcoder, fence, auto, none is expected")


def _wizardcoder(raw: str, cuts: PublishedCuts) -> str:
    """Follow `process_humaneval.py` and `process_mbpp.py` of the WizardLM repository, in their order."""
    text = raw if cuts.keeps_returns else raw.replace("\r", "")
    if "```python" in text:
        text = text[text.index("```python") :].strip().replace("```python", "")
        closing = text.find(cuts.closing)
        if closing >= 0:
            text = text[:closing].strip()
    for cut in ('if __name__ == "__main__":', "# Example usage", *cuts.marks):
        if (at := text.find(cut)) >= 0:
            text = text[:at].strip()
    return text


def _fence(text: str, language: str) -> str:
    blocks = language_blocks(code_blocks(text), language)
    return blocks[0].code if blocks else text


def _auto_by_grammar(text: str, entry_point: str, language: str) -> str:
    """Return the first sound block that names the function, else one that names it, else the first sound."""
    blocks = [block.code for block in language_blocks(code_blocks(text), language)][:64]
    naming = [code for code in blocks if entry_point and entry_point in code]
    for codes in (naming, blocks):
        for code in codes:
            if syntax_error(code, language) is None:
                return code
        if codes:
            return codes[0]
    return text


def _auto_python(text: str, entry_point: str, prompt: str) -> str:
    blocks = [block.code for block in language_blocks(code_blocks(text), "python")]
    candidates = blocks or [text.replace("\r\n", "\n").replace("\r", "\n")]
    if not entry_point:
        return candidates[0]
    # Of 10,000 blocks the answer is in the first few, or in the last (a long attempt, then the result).
    candidates = candidates[:64] + candidates[64:][-8:]
    chosen = python_program.function_and_needs(candidates, entry_point, prompt)
    if chosen is None and prompt:
        chosen = next(
            filter(None, (python_program.continuation(c, entry_point, prompt) for c in candidates)), None
        )
    if chosen is None:
        chosen = python_program.salvaged(candidates, entry_point)
    if chosen is None and blocks:
        chosen = python_program.salvaged([text], entry_point)
    return candidates[0] if chosen is None else chosen
