"""Where an answer holds its code in something else than fences: tags, JSON, a diff.

A model that is asked for a form (`<answer>`, a JSON object, the arguments of a tool) keeps to it, and says
more around its answer. Everything here is linear in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from evolcoder.extraction.definitions import definition

_ANSWERS = r"final_?answer|answer|solution|code|implementation|final|output|response|program"
_REMARKS = (
    r"plan(?:ning)?|brainstorm(?:ing)?|draft|outline|notes?|explanation|review|critique|verification|tests?"
    r"|examples?|usage"
)
_TAG = re.compile(
    rf"^[ \t]*(`{{3,}}|~{{3,}})|<(/?)(?:({_ANSWERS})|({_REMARKS}))(?:\s[^<>\n]{{0,120}})?>",
    re.IGNORECASE | re.MULTILINE,
)
"""A fence, or a tag: in fenced code, and after words of its line, a tag is text."""
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_JSON_BEGINS = re.compile(r"[{\[](?=\s*[\"{\[])")
_MOST_JSON_VALUES = 64
_DIFF_BEGINS = re.compile(r"(?:diff --git |--- |@@)")
_DIFF_HEADS = ("diff ", "index ", "--- ", "+++ ", "@@", "\\ No newline", "new file", "deleted file")


def answer_proper(text: str, name: str) -> str:
    """Return the part of a text that is the answer; `name` is the function asked for.

    Where sections are tagged as the answer, the last that defines it is put at the end, fenced. Else sections
    that speak of the answer are left out where the rest defines it. Where nothing does, it is the last string
    of a JSON value, or piece of inline code, that does.
    """
    if "[BEGIN]" in text:
        text = _without_quotes(text)
    if "<" in text:
        text = _by_sections(text, name)
    if name not in text or definition(text, name) is not None:
        return text
    for parts in (_json_strings(text), _INLINE.findall(text)):
        if found := [part for part in parts if definition(part, name)]:
            return found[-1]
    return text


def _without_quotes(text: str) -> str:
    """Return a text whose program is in quotes between `[BEGIN]` and `[DONE]`, as OpenCompass asks for it."""
    before, mark, rest = text.partition("[BEGIN]")
    inside, done, after = rest.partition("[DONE]")
    program = inside.strip()
    if program[:1] not in ("'", '"') or program[:3] in ("'''", '"""') or program[-1:] != program[:1]:
        return text
    return f"{before}{mark}\n{program[1:-1]}\n{done}{after}"


def _by_sections(text: str, name: str) -> str:
    answer: str | None = None
    rest: list[str] = []
    at = 0
    opened: re.Match[str] | None = None
    fenced = False
    for tag in _TAG.finditer(text):
        if tag[1]:
            fenced = not fenced
        elif fenced:
            continue
        elif not tag[2]:
            near = max(0, tag.start() - 200)
            before = text[max(near, text.rfind("\n", near, tag.start()) + 1) : tag.start()].strip()
            if opened is None and (not before or before.endswith(">")):
                opened = tag
        elif opened and (opened[3] or opened[4]).lower() == (tag[3] or tag[4]).lower():
            inside = text[opened.end() : tag.start()]
            if tag[4]:
                rest.append(text[at : opened.start()])
                at = tag.end()
            elif definition(inside, name):
                answer = inside
            opened = None
    if answer is not None:
        has_fence = "```" in answer or "~~~" in answer
        return f"{text}\n{answer}" if has_fence else f"{text}\n```\n{answer.strip(chr(10))}\n```\n"
    without_remarks = "\n".join([*rest, text[at:]])
    return without_remarks if rest and definition(without_remarks, name) else text


def _json_strings(text: str) -> Iterator[str]:
    """Yield the strings of the JSON values in a text, in order; lists of them also as lines, ended or not."""
    decoder = json.JSONDecoder(strict=False)  # models break lines within strings
    at = 0
    for _ in range(_MOST_JSON_VALUES):
        begins = _JSON_BEGINS.search(text, at)
        if begins is None:
            return
        try:
            value, at = decoder.raw_decode(text, begins.start())
        except (ValueError, RecursionError):
            at = begins.end()
            continue
        waiting: list[Any] = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, dict):
                waiting.extend(reversed(item.values()))
            elif isinstance(item, list):
                lines = [line for line in item if isinstance(line, str)]
                yield from lines
                between = "" if lines and lines[0].endswith("\n") else "\n"  # a notebook's end in one
                yield between.join(lines)
                waiting.extend(other for other in reversed(item) if not isinstance(other, str))
            elif isinstance(item, str):
                yield item
                if item.startswith("{"):  # the arguments of a tool, as the API of OpenAI writes them
                    yield from _json_strings(item)


def is_diff(label: str, code: str) -> bool:
    """Whether a fenced block shows a change and not a program."""
    return label in ("diff", "patch", "udiff") or _DIFF_BEGINS.match(code) is not None


def changed_by_diff(code: str) -> str:
    """Return what the lines of a diff are after the change."""
    lines = [line for line in code.split("\n") if not line.startswith(_DIFF_HEADS)]
    return "\n".join(line[1:] for line in lines if not line.startswith("-"))
