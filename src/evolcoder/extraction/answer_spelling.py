"""A final answer as people and models spell it, as LaTeX that says the same.

"€1 800", "eighteen", "3 1/2", "18 apples because ..." and "1.8 million" are then what math-verify reads.
Nothing is evaluated here.
"""

from __future__ import annotations

import re
import unicodedata

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
_NUMBER = re.compile(rf"(?:{_THOUSANDS}|\d+)?(?:\.\d+)?")
_FRACTION = re.compile(r"(?:(?P<whole>\s+)(?P<above>\d+))?\s*/\s*(?P<below>\d+)(?![\d.])")
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
    match = _NUMBER.match(text.removeprefix("+"))
    if match is None or not match[0]:
        return ""
    rest = text.removeprefix("+")[match.end() :]
    number = re.sub(r"[^\d.]", "", match[0])
    if fraction := _FRACTION.match(rest):
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
    total = below_scale = 0
    for word in words:
        if word in _WORTH:
            below_scale += _WORTH[word]
        elif word == "hundred":
            below_scale *= 100
        elif word in _SCALES:
            total, below_scale = total + below_scale * 10 ** _SCALES[word], 0
        else:
            return None
    return total + below_scale if words else None
