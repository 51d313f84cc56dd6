"""Programs in every language of MultiPL-E that are known to be right or wrong, written for these tests.

A file a language under `known_programs/`. A block is `== NUMBER | OLD => NEW` and a completion of HumanEval
problem NUMBER that is right; with OLD replaced by NEW (once) it is wrong. `== NUMBER REASON` is one that ends
so: "syntax error", "timeout" or "failed".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "known_programs"
_HEAD = re.compile(r"^== (\d+) (?:\| (.+?) =>(?: (.*))?|([a-z ]+))\n", re.MULTILINE)


@dataclass(frozen=True)
class Known:
    """A completion, and what must be said of it."""

    number: int
    completion: str
    reason: str


def known_programs(language: str) -> list[Known]:
    """Return right and wrong completions by turns."""
    text = (FOLDER / f"{language}.txt").read_text()
    heads = list(_HEAD.finditer(text))
    known = []
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        body = text[head.end() : after.start() if after else len(text)]
        number, old, new, reason = int(head[1]), head[2], head[3] or "", head[4]
        if reason:
            known.append(Known(number, body, reason))
            continue
        assert old in body, f"{language} {number}: {old!r} is not in the program"
        known.append(Known(number, body, "passed"))
        known.append(Known(number, body.replace(old, new, 1), "failed"))
    return known
