"""The final answer in a mathematical solution, and when two answers are written alike.

Nothing is evaluated here. Whether two answers are the same number or expression is a question for
`math-verify`, in the sandbox.
"""

from __future__ import annotations

import re
from fractions import Fraction

ANSWER_WORDS = "The answer is: "
"""What stands before the final answer in WizardMath's data and in what its models write."""
_SAID = re.compile(r"answer\s*(?:is|:|=)\s*:?", re.IGNORECASE)
_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\\\(?!f?box)|\\[{}]|(?P<open>\{)|(?P<close>\})")
_ORNAMENT = re.compile(r"[\s\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]+\Z")
_OPENING = re.compile(r"\A(?:[\s*$]|\\[(\[])+")
_NUMBER = r"(?=[-+]?\.?\d)[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+)?"
_FIRST_NUMBER = re.compile(rf"({_NUMBER})(?:\s*/\s*({_NUMBER}))?")
_LAST_NUMBER = re.compile(r"[-+]?\$?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?%?")
_UNWRAPPED = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{([^{}]*)\}")
_NO_MEANING = (
    "\\left", "\\right", "\\!", "\\,", "\\;", "\\:", "\\ ", "\\$", "\\%", "%", "$", "^\\circ", "^{\\circ}",
    "\\displaystyle", "\\dots", "~", " ", "\\(", "\\)", "\\[", "\\]",
)  # fmt: skip
_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)")
_MIXED_FRACTION = re.compile(r"\\[dt]?frac\s*(\d)\{")
_SLASH = re.compile(r"(-?\d+)/(\d+)")
_SHORT_ROOT = re.compile(r"\\sqrt\s*([^\s{\[])")
_LONGEST = 2_000
"""Characters of an answer; what is longer is none."""


def final_answer(text: str) -> str:
    r"""Return the final answer of a solution; "" where it gives none.

    That is the last \boxed{...}, else what stands in <answer> tags, follows the last "#### " or "the answer
    is", else the last number.
    """
    if (boxed := last_boxed(text)) is not None:
        return boxed.strip()[:_LONGEST]
    for mark, end in (("<answer>", "</answer>"), ("####", "\n\n")):
        if (marked := text.rpartition(mark))[1]:
            return _without_stop(marked[2].partition(end)[0])
    if len(said := _SAID.split(text)) > 1:
        return _without_stop(said[-1])
    numbers = _LAST_NUMBER.findall(text)
    return numbers[-1].strip() if numbers else ""


def after_answer_words(text: str) -> str:
    """Return what follows the last "The answer is: ", as WizardMath's scripts read it; "" without it."""
    _, words, after = text.rpartition(ANSWER_WORDS)
    return after.strip()[:_LONGEST] if words else ""


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last \boxed{...} or \fbox{...} that is closed; None where there is none.

    Braces that LaTeX prints (\{ and \}) close nothing.
    """
    last: tuple[int, int] | None = None
    opened: list[int | None] = []  # where the content of each open brace begins; None for one that is no box
    for match in _BRACE.finditer(text):  # once over the text, however many boxes it opens
        if match["box"]:
            opened.append(match.end())
        elif match["open"]:
            opened.append(None)
        elif match["close"] and opened:
            begin = opened.pop()
            if begin is not None and match.start() - begin < _LONGEST and (last is None or begin > last[0]):
                last = begin, match.start()
    return text[slice(*last)] if last else None


def first_number(text: str) -> Fraction | None:
    """Return the first number of a text, a fraction "a/b" included; None where it has none."""
    match = _FIRST_NUMBER.search(text[:_LONGEST])
    if match is None:
        return None
    number = _exact(match[1])
    if match[2] and (below := _exact(match[2])):
        return number / below
    return number


def normalised(answer: str) -> str:
    r"""Return an answer in LaTeX in one spelling: without spaces, units, \left; fractions and roots whole."""
    text = answer.strip()[:_LONGEST].rstrip(".")
    # Words behind a number are its unit; alone they are the answer.
    text = _UNWRAPPED.sub("" if re.match(r"[-\d.,\\]*\d", text) else r"\1", text)
    for mark in _NO_MEANING:
        text = text.replace(mark, "")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _MIXED_FRACTION.sub(r"\\frac{\1}{", text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    if _SLASH.fullmatch(text):
        text = _SLASH.sub(r"\\frac{\1}{\2}", text)
    if re.fullmatch(r"[a-zA-Z]=[^=]+", text):
        text = text[2:]
    if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    if re.fullmatch(r"-?\.\d+", text):
        text = text.replace(".", "0.")
    if re.fullmatch(r"[-+]?\d+\.0+", text):
        text = text.partition(".")[0]
    return text.removeprefix("+")


def number_of(answer: str) -> Fraction | None:
    r"""Return the number that an answer is as a whole ("\frac{1}{2}", "0.5", "1,000"); None for another."""
    text = normalised(answer)
    if match := re.fullmatch(r"(-?)\\frac\{(-?\d+)\}\{(\d+)\}", text):
        below = int(match[3])
        return Fraction(int(match[2]), below) * (-1 if match[1] else 1) if below else None
    return Fraction(text) if re.fullmatch(r"[-+]?\d{1,200}(?:\.\d{1,200})?", text) else None


def written_alike(one: str, other: str) -> bool:
    """Return whether two answers are the same in spelling, or as whole numbers, fractions or decimals."""
    if normalised(one) == normalised(other):
        return bool(one.strip())
    first, second = number_of(one), number_of(other)
    return first is not None and first == second


def _exact(text: str) -> Fraction:
    return Fraction(text.replace(",", "")[:400] or "0")


def _without_stop(text: str) -> str:
    """Return the first line of what follows a mark, without the full stop and signs around it."""
    line = _OPENING.sub("", text[: 2 * _LONGEST].lstrip()).partition("\n")[0].strip()[:_LONGEST]
    line = _ORNAMENT.sub("", line)
    return line.rstrip(".").strip().strip("*$").strip().removesuffix("\\)").removesuffix("\\]").strip()
