"""From a model's answer to the program that is judged: fenced blocks, and the named extractions.

- `none`: the answer is the program.
- `wizardcoder`: the published post-processing of the WizardCoder evaluation, quirks included; it reproduces
  the published files row by row.
- `fence`, also called `first`: the first fenced block of the language (or the first without a label).
- `last`: the last of these.
- `auto`: by Python's grammar; the last block that defines the function asked for, without examples.

Every function takes any text (lone surrogates and NUL included), runs in time about linear in its length,
and executes nothing.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field, replace

from evolcoder.extraction import HUMANEVAL_CUTS, Extraction, PublishedCuts, python_program
from evolcoder.extraction.definitions import defining_block, definition
from evolcoder.extraction.grammar import syntax_error
from evolcoder.extraction.thinking import without_thinking
from evolcoder.extraction.wrapped_answers import answer_proper, changed_by_diff, is_diff

__all__ = ["CodeBlock", "Extraction", "code_blocks", "extract", "syntax_error", "without_thinking"]

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*(.*)")
_FENCE_AFTER_TEXT = re.compile(r"([^`]*)(`{3,})[ \t]*([A-Za-z0-9+#_.-]*)[ \t]*")
_ONE_LINE = re.compile(r"[ \t]*(`{3,})([^`]+)\1[ \t]*")
_LABEL = re.compile(r"\{?\.?([A-Za-z0-9+#_.-]*)")
_BEGINS_CODE = re.compile(
    r"(?:def|class|import|from|async|return|for|while|if|lambda|function|const|let|var|func|fn|fun|pub|public|"
    r"private|static|package|using|use|local|require|module|object|int|void|bool|double|string)\s+\S"
    r"|@\w|#include\b|<\?php|[A-Za-z_]\w*\s+=\s"
)
_QUOTED = re.compile(r"^> ?(?!>)", re.MULTILINE)
_QUOTES_CODE = re.compile(rf"^> ?(?:```|{_BEGINS_CODE.pattern})", re.MULTILINE)
_NEXT_TURN = re.compile(
    r"(?:<\|(?:im_end|end|eot_id|eot|endoftext|end_of_turn|EOT)\|>|</s>|<end_of_turn>|<eos>)\s*"
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<s>)?\s*"
    r"(?:(?:user|system)\s*(?:<\|end_header_id\|>)?\n|<\|(?:user|system)\|>|\[INST\])"
    r"|(?<=\S)\n+#{2,3} (?:Instruction|Human|User):[ \t]*\n"
    r"|(?<=\S)\n+(?:Human|User):[ \t][^\n]*\n+(?:Assistant|AI):"
)
"""Where the model goes on as the user."""
_ASKED_AND_ANSWERED = re.compile(
    r"(?<=\S)\n+(?:#{2,3} )?(?:Instruction|Human|User|Question):[^#`]{1,4000}?"
    r"\n(?:#{2,3} )?(?:Response|Assistant|AI|Answer):"
)
"""The same around bare code, where less could be a comment."""

_LABELS = {
    "python": {"python", "py", "ipython", "gyp"},
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

_VERSION = "0123456789."


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block of a text."""

    language: str
    """The fence's label in lower case, "" where it has none."""
    code: str
    """What stands between the fences, without the fence's own indentation; ends in a newline unless empty."""
    closed: bool = True
    """False where the text ended before a closing fence."""


def code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced blocks of a text in order (``` or ~~~, indented too), the last maybe unclosed.

    Read as models write, not only as CommonMark has it: a fence may open at the end of a sentence, hold code
    on its own line, and close at the end of a line of code; the next block's fence closes one that was not;
    a fence within a triple-quoted string is part of the program.
    """
    return read_fences(text)[0]


def read_fences(text: str) -> tuple[list[CodeBlock], str]:
    """Return the fenced blocks of a text, and what stands outside them."""
    if ">" in text and _QUOTES_CODE.search(text):
        text = _QUOTED.sub("", text)
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    reading = _Reading(minds_strings=True).of(lines)
    if reading.passed_a_fence and reading.unclosed:
        # The string that seemed to hold the fence never ends: a broken program.
        reading = _Reading(minds_strings=False).of(lines)
    return reading.blocks, "\n".join(reading.outside)


@dataclass
class _Reading:
    """One pass over the lines of a text."""

    minds_strings: bool
    blocks: list[CodeBlock] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    passed_a_fence: bool = False
    """Whether a fence was taken for a line of a string."""
    unclosed: bool = False
    """Whether a block was still open at the text's end."""
    _fence: str = ""
    """What opened the block that is read, "" outside of blocks."""
    _indent: str = ""
    _label: str = ""
    _code: list[str] = field(default_factory=list)
    _in_string: bool = False

    def of(self, lines: list[str]) -> _Reading:
        """Read all lines."""
        for line in lines:
            if self._fence:
                self._line_of_block(line)
            else:
                self._line_outside(line)
        self.unclosed = bool(self._fence)
        if self._fence:
            self._end_block(closed=False)
        return self

    def _line_outside(self, line: str) -> None:
        if "```" not in line and "~~~" not in line:
            self.outside.append(line)
            return
        if match := _ONE_LINE.fullmatch(line):
            label, code = _label_and_code(match[2])
            if code:
                self.blocks.append(CodeBlock(label, code + "\n", True))
                return
        match = _FENCE.fullmatch(line)
        # An info string with a backtick is inline code, not a fence (CommonMark 4.5).
        if match is None or (match[2][0] == "`" and "`" in match[3]):
            match = _FENCE_AFTER_TEXT.fullmatch(line)
        if match is None or (match[1].strip() and not match[1].strip(" \t#/")):  # drawn in a comment
            self.outside.append(line)
            return
        if match[1].strip():
            self.outside.append(match[1])
        self._label, code = _label_and_code(match[3])
        self._indent = match[1] if not match[1].strip() else ""
        self._fence, self._in_string, self._code = match[2], False, []
        if code:
            self._add(code)

    def _line_of_block(self, line: str) -> None:
        at = line.find(self._fence)
        if at >= 0 and not self._in_string:
            match = _FENCE.fullmatch(line)
            if match and not python_program.SPECIAL_TOKEN.sub("", match[3]).strip():
                self._end_block(closed=True)
                return
            if match and match[2] == self._fence and _is_label(match[3]):
                self._end_block(closed=False)
                self._line_outside(line)
                return
            if match is None and (code := _code_before_fence(line, self._fence)) is not None:
                self._add(code)
                self._end_block(closed=True)
                self.outside.append(line[len(code) :].lstrip("`"))
                return
        elif at >= 0 and _FENCE.fullmatch(line):
            self.passed_a_fence = True
        if not self._code and line.strip() and not line.startswith(self._indent):
            self._indent = ""  # the fence alone was indented
        self._add(line.removeprefix(self._indent))

    def _add(self, line: str) -> None:
        self._code.append(line)
        if self.minds_strings and (line.count('"' * 3) + line.count("'" * 3)) % 2:
            self._in_string = not self._in_string

    def _end_block(self, *, closed: bool) -> None:
        self.blocks.append(CodeBlock(self._label, "".join(line + "\n" for line in self._code), closed))
        self._fence = ""


def _label_and_code(info: str) -> tuple[str, str]:
    """Return (a fence's label in lower case, code that stands on the fence's line)."""
    info = info.strip()
    if _BEGINS_CODE.match(info):
        return "", info
    match = _LABEL.match(info)
    label = match[1].lower() if match else ""
    rest = info[match.end() :].strip() if match else info
    return label, rest if _BEGINS_CODE.match(rest) else ""


def _is_label(info: str) -> bool:
    label, code = _label_and_code(info)
    return bool(code) or any(label.rstrip(_VERSION) in names for names in _LABELS.values())


def _code_before_fence(line: str, fence: str) -> str | None:
    """Return the code of a line that also closes the block, None where the backticks are part of it."""
    code, _, after = line.partition(fence)
    if fence[0] == "~" or fence in after or not code.strip(" \t#/*-"):  # a comment may draw a fence
        return None
    if python_program.SPECIAL_TOKEN.sub("", after).strip(" \t`"):
        # Prose may follow; within quotes or a comment the backticks are code.
        inside = code.count('"') % 2 or code.count("'") % 2 or "#" in code or "//" in code
        if inside or not after[:1].isspace():
            return None
    return code


def language_blocks(blocks: list[CodeBlock], language: str) -> list[CodeBlock]:
    """Return the blocks labelled with the language; else those without a label; else all."""
    names = _LABELS.get(language, {language})
    for wanted in (names, {""}):
        chosen = [block for block in blocks if block.language.rstrip(_VERSION) in wanted]
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
) -> str:
    """Return the program, or the continuation of `prompt`, that an answer holds.

    `entry_point` and `prompt` (code that the program may continue, or "") guide `auto` only, `cuts` only
    `wizardcoder`. Raises ValueError for an unknown `how`.
    """
    if how == "none":
        return raw
    if how == "wizardcoder":
        return _wizardcoder(raw, cuts)
    if how == "auto":
        return _auto(raw, entry_point, prompt)
    if how in ("fence", "first", "last"):
        text = without_thinking(raw)
        return block_of(code_blocks(text), "python", how) or text
    raise ValueError(f"extraction {how!r}: one of wizardcoder, fence, first, last, auto, none is expected")


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


def block_of(blocks: list[CodeBlock], language: str, how: Extraction) -> str | None:
    """Return the first block of a language as it stands, the last one for `last`; None without blocks."""
    chosen = language_blocks(blocks, language)
    return chosen[-1 if how == "last" else 0].code if chosen else None


def some_blocks(blocks: list[CodeBlock]) -> list[tuple[str, bool]]:
    """Return (code, closed) of the blocks that are looked into.

    Of 10,000 the answer is in the first few, or in the last (a long attempt, then the result). The last go
    first into what is parsed at most; longer ones are left out.
    """
    chosen: list[tuple[str, bool]] = []
    left = python_program.LONGEST_PARSED
    for block in reversed(blocks[:64] + blocks[64:][-8:]):
        if len(block.code) <= left:
            chosen.append((block.code, block.closed))
            left -= len(block.code)
    return chosen[::-1]


def _diffs_first(text: str) -> tuple[list[CodeBlock], str]:
    """Return what `read_fences` does, what diffs make of their lines first: no block may hold it whole."""
    blocks, outside = read_fences(text)
    diffs = [block for block in blocks if is_diff(block.language, block.code)]
    changed = [replace(diff, language="", code=changed_by_diff(diff.code)) for diff in diffs]
    return [*changed, *(block for block in blocks if block not in diffs)] if diffs else blocks, outside


def defining_program(text: str, entry_point: str, language: str) -> str | None:
    """Return the program of an answer that defines the function, None for none; not for Python."""
    blocks, outside = _diffs_first(answer_proper(_NEXT_TURN.split(text, maxsplit=1)[0], entry_point))
    found = defining_block(some_blocks(blocks), outside, entry_point, language)
    return None if found is None else _as_written(found)


def _as_written(code: str) -> str:
    """Return code without what a page put into it: invisible marks, and `&lt;` outside of strings."""
    lines = code.split("\n")
    code = "\n".join(line if line[:1].isascii() else python_program.visible(line) for line in lines)
    is_page = any(_in_code(code, entity.start()) for entity in re.finditer("&(?:lt|gt|amp|quot);", code))
    return html.unescape(code) if is_page else code


def _in_code(code: str, at: int) -> bool:
    """Whether no string of its line is open at a place: `x &lt; y` is a page's, `"&lt;"` the program's."""
    before = code[code.rfind("\n", 0, at) + 1 : at]
    return not any(before.count(quote) % 2 for quote in "\"'`")


def _first_turn(text: str, entry_point: str) -> str:
    """Return bare code up to where the model goes on as the user and answers itself; other text as it is."""
    again = _ASKED_AND_ANSWERED.search(text)
    before = text[: again.start()] if again else ""
    return f"{before}\n" if entry_point and "```" not in before and definition(before, entry_point) else text


def _auto(raw: str, entry_point: str, prompt: str) -> str:
    raw = raw.replace("\r\n", "\n").replace("\r", "\n")
    own = _first_turn(raw, entry_point)
    for bare in (own, raw) if own is not raw else (raw,):
        if entry_point and (program := python_program.whole_program(bare, entry_point, prompt)) is not None:
            return program
    text = _first_turn(_NEXT_TURN.split(without_thinking(raw), maxsplit=1)[0], entry_point)
    text = answer_proper(text, entry_point) if entry_point else text
    blocks, outside = _diffs_first(text)
    if any(block.language in ("markdown", "md") for block in blocks):
        blocks = [inner for block in blocks for inner in code_blocks(block.code) or [block]]
    if entry_point:
        found = python_program.program_in(some_blocks(blocks), outside, entry_point, prompt)
        if found is not None:
            return found
    likely = language_blocks(blocks, "python")
    return likely[0].code if likely else python_program.without_special_tokens(text)
