"""The four elimination rules of WizardLM (arXiv 2304.12244, 3.2), with WizardCoder's template in mind.

An evolved instruction is dropped when it adds nothing (1), when its answer is a short apology (2) or holds
nothing but punctuation and stop words (3), or when it copies words of the evolving prompt (4). Rules that
need only the text are applied before the teacher is asked for anything more. `evolve_one` applies them, asks
the teacher for rule 1, and drops rows cut off, unanswered or scored low; the other reasons (`duplicate`,
`contaminated`, failed tests) are in `rounds`, `contamination_report` and `verification`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from evolcoder.evolve.methods import Method, MethodSet

EliminationReason = Literal[
    "unchanged", "equal", "refused", "empty", "leaked prompt", "truncated", "duplicate", "syntax error",
    "failed tests", "wrong answer", "low score", "contaminated", "no reply", "set aside",
]  # fmt: skip
"""Rule 1 by text ("unchanged") and by judge ("equal"), rule 2 ("refused"), rule 3 ("empty"), rule 4 ("leaked
prompt"); the rest are evolcoder's own. A rule that the paper states for one of instruction and answer also
drops the other where the teacher shows the same fault there: an apology instead of an instruction, an answer
that only repeats its instruction or holds the evolving prompt's marks."""


class Elimination(NamedTuple):
    """Why a row was dropped."""

    reason: EliminationReason
    detail: str


SORRY_WORDS = 80
"""An answer that says "sorry" in fewer words than this is a refusal (WizardLM 3.2)."""

_STOP_WORDS_TEXT = """
a about above after again against all also am an and any are as at be because been before being below
between both but by can could did do does doing down during each few for from further had has have having he
her here hers him his how i if in into is it its itself just me more most my no nor not now of off ok okay
on once only or other our ours out over own please same she should so some such sure than that the their
theirs them then there these they this those through to too under until up very was we well were what when
where which while who whom why will with would yes you your yours
"""
STOP_WORDS = frozenset(_STOP_WORDS_TEXT.split())

_FILLER_WORDS_TEXT = """
a an the please kindly you your yours i me my we our us to of is are be can could would will shall should
that this it its also just and then so now
"""
FILLER_WORDS = frozenset(_FILLER_WORDS_TEXT.split())
"""Words that change nothing about a task when they come or go."""

_PROMPT_MARK = re.compile(r"#\s*(?:the\s+)?(?:given|rewritten|created|new) prompt\s*#", re.IGNORECASE)
_TEMPLATE_WORDS = "increase the difficulty of the given programming test question"
"""What of the evolving prompts no answer holds by chance."""
_ROLE = re.compile(r"\W*(?:user|human|assistant|question|instruction|prompt)\s*:\s*", re.IGNORECASE)
_LONGEST_ROLE = 40
"""Characters."""

_WORD = re.compile(r"\w+")
_SIGNS = re.compile(r"[^\w\s]")
_REFUSAL = re.compile(
    r"\W*(?:(?:i\W?m|i am|we are) (?:very |so |really )?sorry|sorry\b|i apologi[sz]e|as an ai\b|"
    r"i (?:can ?not|can\W?t) (?:help|assist|do))",
    re.IGNORECASE,
)


def instruction_elimination(
    parent: str, evolved: str, method: Method, methods: MethodSet
) -> Elimination | None:
    """Apply what can be told from the evolved instruction alone: rules 1 and 4, and a refusal to evolve."""
    if is_part_of(parent, evolved):
        return Elimination("unchanged", "a part of its parent, word for word")
    if not has_content(evolved):
        return Elimination("empty", "the teacher returned no instruction")
    if is_unchanged(parent, evolved):
        return Elimination("unchanged", "the same as its parent but for case, spacing, signs or filler words")
    if words := leaked_words(parent, evolved, method, methods):
        return Elimination("leaked prompt", f"holds {words!r} of the evolving prompt")
    if _REFUSAL.match(evolved):
        return Elimination("refused", "the teacher apologised instead of evolving")
    return None


def answer_elimination(answer: str, instruction: str = "") -> Elimination | None:
    """Apply rules 2 and 3 to the answer of an evolved instruction, and to it what rules 1 and 4 forbid."""
    if "sorry" in answer.lower() and (n := len(answer.split())) < SORRY_WORDS:
        return Elimination("refused", f'the answer says "sorry" in {n} words (under {SORRY_WORDS})')
    if not has_content(answer):
        return Elimination("empty", "the answer holds only punctuation and stop words")
    if (mark := _mark_of_prompt(answer)) and mark.lower() not in instruction.lower():
        return Elimination("leaked prompt", f"the answer holds {mark!r} of the evolving prompt")
    if instruction and repeats(instruction, answer):
        return Elimination("unchanged", "the answer only repeats the instruction")
    return None


def is_unchanged(parent: str, evolved: str) -> bool:
    """Return whether two instructions are the same but for case, spacing, signs and filler words.

    Signs count where an instruction is made of little else, as `x = y` and `x == y` are.
    """
    if parent == evolved:
        return True
    if len(evolved.strip()) > 2 * len(parent) + 100:
        return False  # no filler makes a text so much longer
    ours, theirs = _words(parent), _words(evolved)
    if ours == theirs:
        return "".join(_SIGNS.findall(parent)) == "".join(_SIGNS.findall(evolved)) or len(ours) >= 4
    content = [[word for word in words if word not in FILLER_WORDS] for words in (ours, theirs)]
    return len(ours) >= 4 and content[0] == content[1]


def is_part_of(parent: str, evolved: str) -> bool:
    """Return whether an instruction is its parent or a piece of it, except for case and spacing."""
    last = evolved.rsplit(maxsplit=1)[-1:]
    if not last or last[0].lower() not in parent.lower():
        return False  # nearly every instruction: told by one word
    return " ".join(evolved.split()).lower() in " ".join(parent.split()).lower()


def repeats(instruction: str, answer: str) -> bool:
    """Return whether an answer is its instruction again, if with a role before it ("user: ...")."""
    role = _ROLE.match(answer, 0, _LONGEST_ROLE)
    bare = answer if role is None else answer[role.end() :]
    if abs(len(bare.strip()) - len(instruction)) > 0.1 * len(instruction) + 10:
        return False  # nearly every answer: told without looking at its words
    return is_unchanged(instruction, bare)


def leaked_words(parent: str, evolved: str, method: Method, methods: MethodSet) -> str:
    """Return words of the evolving prompt that `evolved` copies and its parent does not hold, or ""."""
    lowered = evolved.lower()
    for phrase in (*methods.leaks, method.sentence.strip().rstrip(".")):
        words = _squeezed_phrase(phrase)
        if not words.text or not words.may_stand_in(lowered):
            continue  # nearly every instruction
        if words.text in _squeezed(evolved) and words.text not in _squeezed(parent):
            return phrase
    for shot in method.shots:
        words = _squeezed_phrase(shot.evolved)
        if words.may_stand_in(lowered) and words.text == _squeezed(evolved):
            return shot.evolved[:60]
    return ""


def has_content(text: str) -> bool:
    """Return whether a text holds a word that is no stop word."""
    return any(word[0].lower() not in STOP_WORDS for word in _WORD.finditer(text))


def says_equal(judgement: str) -> bool:
    """Read the judge's answer: "Equal" and not "Not Equal"; anything unclear counts as not equal."""
    words = _words(judgement)[:12]
    return "equal" in words and "not" not in words and "unequal" not in words


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _mark_of_prompt(text: str) -> str:
    """Return a mark or sentence of the evolving prompts that a text holds, or ""."""
    if (mark := _PROMPT_MARK.search(text)) is not None:
        return mark.group()
    at = text.lower().find(_TEMPLATE_WORDS)
    return text[at : at + len(_TEMPLATE_WORDS)] if at >= 0 else ""


class _Phrase(NamedTuple):
    """Words that are looked for in every row."""

    text: str
    """Squeezed."""
    words: tuple[str, ...]
    """The longest first: where one is missing, which is soon found, the phrase is."""

    def may_stand_in(self, lowered: str) -> bool:
        return all(word in lowered for word in self.words)


@lru_cache(maxsize=256)
def _squeezed_phrase(phrase: str) -> _Phrase:
    squeezed = _squeezed(phrase)
    return _Phrase(squeezed, tuple(sorted(squeezed.split(), key=len, reverse=True)))


def _squeezed(text: str) -> str:
    """Lower-case words separated by single spaces, signs dropped."""
    return " ".join(_words(text))
