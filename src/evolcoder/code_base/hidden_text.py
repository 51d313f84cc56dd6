"""What a text of code also says: words split over string literals or lines, escapes, and base64.

A secret that stands so is no less one. The grammar is not asked: the rules fit all languages, and a text that
does not parse.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_BETWEEN = r"(?:\s|\\\n|#[^\n]*\n|//[^\n]*\n)*"
_LITERALS_MEET = re.compile(rf"""(["'`]){_BETWEEN}(?:[+.]{_BETWEEN})?[a-zA-Z]{{0,2}}\1""")
_UNLIKE_LITERALS_MEET = re.compile(rf"""["'`]{_BETWEEN}(?:[+.]{_BETWEEN})?[a-zA-Z]{{0,2}}["'`]""")
"""Where one literal ends and the next begins: `"a" "b"`, `"a" + "b"`, `"a" . "b"`."""
_ITEMS_MEET = re.compile(rf"""["'`]{_BETWEEN},{_BETWEEN}[a-zA-Z]{{0,2}}["'`]""")
_LINE_GOES_ON = re.compile(r"\\\n")
_ESCAPE = re.compile(
    r"""\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,5})\}|([0-3][0-7]{2})|(["']))"""
)
_BASE64 = re.compile(r"(?<![\w+/-])[A-Za-z0-9+/_-]{12,}={0,2}")
_PRINTABLE = re.compile(rb"[\x20-\x7e\s]{8,}")


def readings(text: str) -> Iterator[str]:
    """Yield the text, and what it says with lines, escapes and literals put together, where it differs."""
    plain = _ESCAPE.sub(_character, _LINE_GOES_ON.sub("", text))
    together = (_LITERALS_MEET.sub("", plain), _UNLIKE_LITERALS_MEET.sub("", plain))
    yield from dict.fromkeys((text, plain, *together))


def items_together(text: str) -> str:
    """Return a text with the literals of its lists put together, as `"".join` does: good for keys alone."""
    return _ITEMS_MEET.sub("", text)


def decoded_words(text: str) -> Iterator[str]:
    """Yield what the words of a text are the base64 of, where that is plain text."""
    for match in _BASE64.finditer(text):
        word = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            found = base64.b64decode(word + "=" * (-len(word) % 4))
        except (binascii.Error, ValueError):
            continue
        if _PRINTABLE.fullmatch(found):
            yield found.decode("ascii")


def _character(escape: re.Match[str]) -> str:
    two, four, braced, octal, quote = escape.groups()
    if quote:
        return str(quote)
    number = int(octal, 8) if octal else int(two or four or braced, 16)
    return chr(number) if number < 0x110000 else ""
