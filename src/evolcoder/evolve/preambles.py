"""Cuts what teachers say around an instruction: "Sure! Here is a harder version:", "Let me know ...".

Only what speaks of the task as a text goes. "Here is a broken function:" begins many an instruction, that of
the method `misdirect` above all, and stays.
"""

from __future__ import annotations

import re

_LONGEST = 300
"""Characters of a first or last paragraph beyond which it is no courtesy."""
_YES = r"(?:sure(?: thing)?|certainly|of course|absolutely|definitely|okay|ok|alright|great|no problem)"
_TEXT = r"(?:version|question|problem|task|instruction|prompt|challenge|exercise|rewrite|variation|variant)"
_NEW = (
    r"(?:more|harder|tougher|difficult|challenging|complex|advanced|revised|rewritten|reworded|modified|updated|"
    r"evolved|enhanced|improved|new|increased|upgraded|adjusted|final)"
)
_FIRST_LINE = re.compile(
    rf"\W{{0,4}}(?:{_YES}\b[^\n]*[:!.]|(?:{_YES}\b\W{{1,4}})?(?:here(?:'|’)?s|here is|below is|this is)\b"
    rf"[^\n]*\b{_NEW}\b[^\n]*\b{_TEXT}\b[^\n]*:)\W{{0,4}}",
    re.IGNORECASE,
)
_YES_ALONE = re.compile(rf"\W{{0,4}}{_YES}\b[^:\n]{{0,40}}[!.]", re.IGNORECASE)
_LABEL = re.compile(
    rf"[*_#\s]{{0,6}}(?:(?:the|your)\s)?(?:{_NEW}\s){{0,2}}(?:programming\s|coding\s|test\s){{0,2}}"
    rf"{_TEXT}(?:\sstatement)?\s?[*_]{{0,3}}\s?:\s?[*_]{{0,3}}[ \t]*\n?",
    re.IGNORECASE,
)
_LAST = re.compile(
    r"\W{0,4}(?:let me know|feel free to (?:ask|reach)|i hope (?:this|that)|hope (?:this|that)|"
    r"would you like me|if you(?:'d| would) like|please let me know|is there anything)\b",
    re.IGNORECASE,
)


def without_preamble(text: str) -> str:
    """Return an instruction without a teacher's words before and after it; as it is if nothing is left."""
    rest = text.strip()
    first, newline, behind = rest.partition("\n")
    if len(first) <= _LONGEST and newline and behind.strip() and _is_courtesy(first):
        rest = behind.strip()
    if (label := _LABEL.match(rest[:_LONGEST])) is not None and rest[label.end() :].strip():
        rest = rest[label.end() :].strip()
    before, gap, last = rest.rpartition("\n\n")
    if gap and len(last) <= _LONGEST and before.strip() and _LAST.match(last):
        rest = before.rstrip().removesuffix("---").rstrip()
    return rest or text


def _is_courtesy(line: str) -> bool:
    if (found := _FIRST_LINE.fullmatch(line)) is None:
        return False
    # "Sure, write a function that adds: ..." is the instruction itself: a yes with more behind it must either
    # be all there is, or announce a text.
    return bool(
        _YES_ALONE.fullmatch(line.strip())
        or (
            re.search(rf"\b{_TEXT}\b", found[0], re.IGNORECASE)
            and re.search(r"\b(?:here|below|this|following)\b", found[0], re.IGNORECASE)
        )
    )
