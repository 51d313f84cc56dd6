"""The families of examples that a report shows: a seed, what each round made of it, and what was dropped."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evolcoder.report.rows import Place, RowIndex, numbered_rows
from evolcoder.report.run_folder import Round

_FAMILIES = 6
MAX_TEXT = 4000
"""Characters of one instruction or answer that the report shows; the families then stay under 0.3 MB."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of words in an evolved instruction: kept from its parent, or new."""

    text: str
    new: bool


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A stretch of an answer: prose, or a code block in a language."""

    kind: Literal["text", "code"]
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """One row of a family, ready to be shown."""

    round: int
    method: str
    instruction: tuple[Piece, ...]
    input: str
    answer: tuple[AnswerPart, ...]
    words: int
    """Words of the instruction, before it is cut for showing."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """An example of a row that elimination dropped."""

    round: int
    reason: str
    detail: str
    instruction: str


def families(index: RowIndex, last_round: int) -> list[list[Generation]]:
    """Return up to 6 families that reach as far as any does, spread evenly over the rows."""
    for number in range(last_round, 0, -1):
        chains = _longest_chains(index, number)
        if chains:
            step = max(1, len(chains) // _FAMILIES)
            return [_generations(index, chain) for chain in chains[::step][:_FAMILIES]]
    return []


def dropped_examples(rounds: Sequence[Round]) -> list[Dropped]:
    """Return one example of each reason in each round, in the order of the rounds."""
    examples = []
    for round_ in rounds:
        if round_.eliminated is None:
            continue
        waiting = set(round_.summary.get("eliminated") or {})
        seen: set[str] = set()
        for _, row in numbered_rows(round_.eliminated):
            reason = str(row.get("reason") or "?")
            if reason not in seen:
                seen.add(reason)
                detail, text = (str(row.get(name) or "") for name in ("detail", "instruction"))
                examples.append(Dropped(round_.number, reason, _cut(detail, 200), _cut(text, 400)))
            if waiting and waiting <= seen:
                break
    return examples


def answer_parts(text: str) -> tuple[AnswerPart, ...]:
    """Split an answer at its fences into prose and code; a fence that is never closed runs to the end."""
    parts: list[AnswerPart] = []
    lines: list[str] = []
    language: str | None = None

    def close(kind: Literal["text", "code"], name: str = "") -> None:
        body = "\n".join(lines).strip("\n")
        if body.strip():
            parts.append(AnswerPart(kind, body, name))
        lines.clear()

    for line in text.splitlines():
        fence = re.match(r"\s{0,3}(`{3,}|~{3,})\s*([\w+#.-]*)", line)
        if fence and language is None:
            close("text")
            language = fence[2]
        elif fence and not fence[2]:
            close("code", language or "")
            language = None
        else:
            lines.append(line)
    close("text" if language is None else "code", language or "")
    return tuple(parts)


def new_words(parent: str, child: str) -> tuple[Piece, ...]:
    """Split `child` into runs of words that stood in `parent` and runs that are new; spaces are kept.

    One or two words in common between new ones are chance ("the", "of") and count as new.
    """
    runs = re.findall(r"\s*\S+\s*", child)  # each with the space after it: joined they are the text
    new, old = [run.strip() for run in runs], parent.split()
    operations = difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
    spans = [(end - start, tag != "equal", start, end) for tag, _, _, start, end in operations if end > start]
    pieces: list[Piece] = []
    for place, (length, is_new, start, end) in enumerate(spans):
        by_chance = not is_new and length <= 2 and 0 < place < len(spans) - 1
        text, marked = "".join(runs[start:end]), is_new or by_chance
        if pieces and pieces[-1].new == marked:
            pieces[-1] = Piece(pieces[-1].text + text, marked)
        else:
            pieces.append(Piece(text, marked))
    return tuple(pieces)


def _longest_chains(index: RowIndex, last: int) -> list[list[Place]]:
    """Return the longest whole chains that end in round `last`, one a seed, in the file's order."""
    by_seed: dict[int, list[Place]] = {}
    for id_, place in index.places.items():
        if place.round == last:
            chain = index.chain(id_)
            if chain[0].round == 0 and len(chain) > len(by_seed.get(chain[0].offset, ())):
                by_seed[chain[0].offset] = chain
    longest = max(map(len, by_seed.values()), default=0)
    return [chain for chain in by_seed.values() if len(chain) == longest]


def _generations(index: RowIndex, chain: Sequence[Place]) -> list[Generation]:
    generations = []
    parent = ""
    for place in chain:
        row = index.row(place)
        whole = str(row.get("instruction") or "")
        text = _cut(whole)
        pieces = new_words(parent, text) if parent else (Piece(text, new=False),)
        generations.append(
            Generation(
                round=place.round,
                method=str(row.get("method") or ""),
                instruction=pieces,
                input=_cut(str(row.get("input") or "")),
                answer=answer_parts(_cut(str(row.get("response") or ""))),
                words=len(whole.split()),
            )
        )
        parent = text
    return generations


def _cut(text: str, length: int = MAX_TEXT) -> str:
    return text if len(text) <= length else text[:length].rstrip() + " …"
