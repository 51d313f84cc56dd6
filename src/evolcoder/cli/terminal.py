"""What reaches a terminal is text: what would command it, or hide in it, is shown by its code.

Everything that a command prints goes through the two streams made here: results, messages, logs, tracebacks.
A row, a file name or an endpoint's words could else set the window's title, rewrite earlier lines, fill the
clipboard, or read in another order than they are (Boucher and Anderson 2021).
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, TextIO

# C0 but tab and newline, C1, soft hyphen, marks and overrides of direction, separators, characters without
# width (but the two joiners that scripts and emoji need), annotations, surrogates, tags.
_NOT_SHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# What a progress bar of a library writes by itself to come back to its line.
_BACK_TO_THE_LINE = re.compile("\n*(?:\x1b\\[A)+")


def shown(text: str) -> str:
    """Return a text whose control and invisible characters are written as JSON writes them, as \\u001b."""
    return _NOT_SHOWN.sub(_code, text)


def wrapped(text: str) -> str:
    """Return lines broken between words where standard output is a terminal too narrow for them."""
    if not sys.stdout.isatty():
        return text
    wrapper = textwrap.TextWrapper(max(20, shutil.get_terminal_size().columns), subsequent_indent="    ")
    wrapper.replace_whitespace = wrapper.break_long_words = wrapper.break_on_hyphens = False
    return "\n".join(map(wrapper.fill, text.split("\n")))


def _code(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


class ShownStream:
    """A text stream that writes `shown` text to another."""

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        """Write a text; a library's progress bar may move to the beginning of its line, or up to it."""
        if text.startswith("\r") and not text.startswith("\r\n"):
            self.inner.write("\r" + shown(text[1:]))
        else:
            self.inner.write(text if _BACK_TO_THE_LINE.fullmatch(text) else shown(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # bytes would go past
            raise AttributeError(name)
        return getattr(self.inner, name)


def guard_streams() -> None:
    """Make standard output and error of this process streams that show."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # a locale may lack what a text has
            stream.reconfigure(errors="backslashreplace")
        if stream is not None and not isinstance(stream, ShownStream):
            setattr(sys, name, ShownStream(stream))


def drawn_on(stream: TextIO | ShownStream) -> TextIO:
    """Return what is behind a stream that shows, for one who draws there and passes texts to `shown`."""
    return stream.inner if isinstance(stream, ShownStream) else stream
