"""The final answer in a mathematical solution, when two are written alike, and an answer as LaTeX spells it.

"€1 800", "eighteen", "3 1/2", "18 apples because ..." and "1.8 million" become what math-verify reads.
Nothing is evaluated here: whether two are the same number or expression is asked of it, in the sandbox.
"""

from __future__ import annotations

import math
import re
import unicodedata
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


_SIGNS = str.maketrans(
    {
        "−": "-", "﹣": "-", "－": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "⁄": "/", "π": r"\pi ",
        "°": r"^\circ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "∪": r"\cup ", "∈": r"\in ", "²": "^2",
        "³": "^3", "`": " ", '"': " ", "“": " ", "”": " ", "\u00a0": " ", "\u202f": " ", "\u2009": " ",
        "٫": ".", "٬": ",",
    }
    | {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width: "３／４"
    | dict.fromkeys((*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF))  # not to be seen
)  # fmt: skip
_DIGIT = re.compile(r"[^\D0-9]")  # of another script
_PART = re.compile(r"(\d?)([¼-¾⅐-⅞])")  # a fraction in one character, behind a whole number or alone
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|[a-z]))")
_ROW_SPACE = re.compile(r"(?<=\\\\)\[\d*\.?\d+(?:ex|em|pt|mm|cm)\]")
_ORDINAL = re.compile(r"\^\s*\{?\s*(?:\\(?:text|textrm|mathrm)\s*\{)?\s*(?:st|nd|rd|th)\s*\}?\s*\}?")
_IN_WORDS = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textrm)\s*\{([^{}]*)\}")
_BEFORE = re.compile(
    r"(?:(?:about|approximately|approx|around|roughly|exactly|just|only|USD|EUR|GBP|Rs)\b\.?"
    r"|\\approx|\\\$|[~≈≃$€£¥₹]|\s)+",
    re.IGNORECASE,
)
_MINUS = re.compile(r"(?:(?:minus|negative)\s+|-\s*)", re.IGNORECASE)
_THOUSANDS = r"\d{1,3}(?:(?:,|\{,\}|\\[,;!: ]|\s)\d{3})+(?!\d)"
_NUMBER_SAID = re.compile(rf"(?:{_THOUSANDS}|\d+)?(?:\.\d+)?")
_FRACTION_SAID = re.compile(r"(?:(?P<whole>\s+)(?P<above>\d+))?\s*/\s*(?P<below>\d+)(?![\d.])")
_POWER = re.compile(r"[eE]([-+]?\d{1,3})(?!\w)")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = re.compile(rf"\s*({'|'.join(_SCALES)})s?\b", re.IGNORECASE)
_UNIT = re.compile(
    r"\s*(?P<percent>\\?%|percent\b)?\s*\\?[$€£¥₹]?\s*"
    r"(?:[.;:,]?\s+(?!(?:and|or|to|plus|minus|times|over|divided|by|out|of)\b)[^\W\d_]{2,}.*"
    r"|\s*[^\W\d_]{2,}[.)]?|\s+[^\W\d_](?:\^[23])?[.)]?|\s*\(.*)?",
    re.IGNORECASE | re.DOTALL,
)
_WORTH = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40,
    "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip


def as_latex(answer: str) -> str:
    """Return an answer with signs and digits of Unicode, ordinals and quotes as LaTeX spells them."""
    text = _DIGIT.sub(lambda m: str(unicodedata.digit(m[0])), answer)
    text = _PART.sub(lambda m: f"{m[1]}{' ' if m[1] else ''}{unicodedata.normalize('NFKC', m[2])}", text)
    text = _ROOT.sub(lambda m: f"\\sqrt{{{m[1] or m[2]}}}", text).translate(_SIGNS)
    text = _ORDINAL.sub("", _ROW_SPACE.sub("", text)).replace("**", "^").replace("*", r"\cdot ")
    return text.strip().rstrip(".").strip()


def number_as_latex(answer: str) -> str:
    """Return the number that an answer begins with, its unit and what is said of it left out; "" without one.

    Only where the answer is a number: "17 or 18" and "18/x" are none.
    """
    text = _IN_WORDS.sub(r" \1 ", as_latex(answer)).strip().strip("*()").strip()
    sign = ""
    for _ in range(2):  # "$-7" and "-$7"
        text = text[match.end() :] if (match := _BEFORE.match(text)) else text
        if match := _MINUS.match(text):
            sign, text = "-", text[match.end() :]
    if (spelled := _from_words(text)) is not None:
        return f"{sign}{spelled}"
    match = _NUMBER_SAID.match(text.removeprefix("+"))
    if match is None or not match[0]:
        return ""
    rest = text.removeprefix("+")[match.end() :]
    number = re.sub(r"[^\d.]", "", match[0])
    if fraction := _FRACTION_SAID.match(rest):
        above, below = fraction["above"] or number, fraction["below"]
        part = f"\\frac{{{above}}}{{{below}}}"
        number, rest = f"({number}+{part})" if fraction["whole"] else part, rest[fraction.end() :]
    elif power := _POWER.match(rest):
        number, rest = f"{number} \\times 10^{{{power[1]}}}", rest[power.end() :]
    elif scale := _SCALE.match(rest):
        number, rest = f"{number} \\times 10^{{{_SCALES[scale[1].lower()]}}}", rest[scale.end() :]
    unit = _UNIT.fullmatch(rest)
    return "" if unit is None else f"{sign}{number}" + ("\\%" if unit["percent"] else "")


def _from_words(text: str) -> int | None:
    """Return the whole number that words say ("one hundred and twenty-one"); None where they say none."""
    words = [word for word in re.split(r"[\s-]+", text.lower()[:200]) if word != "and"]
    if len(words) > 1 and words[0] == "a" and words[1] in _SCALES:
        words = words[1:]
    total = part = 0
    below, scale = 100, math.inf  # what the next word of this part, and the next scale, must be less than
    for word in words:
        worth = _WORTH.get(word, 0)
        if word in _WORTH and (worth < below if worth else len(words) == 1):
            part, below = part + worth, 10 if worth >= 20 else 0
        elif word == "hundred" and part < 100:
            part, below = (part or 1) * 100, 100
        elif word in _SCALES and word != "hundred" and _SCALES[word] < scale and (part or not total):
            scale = _SCALES[word]
            total, part, below = total + (part or 1) * 10**scale, 0, 100
        else:
            return None
    return total + part if words else None
