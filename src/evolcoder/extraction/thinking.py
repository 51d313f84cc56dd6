"""Tell a model's reasoning from its answer, in every form that models write it.

Tags count where reasoning begins and ends, not where an answer speaks of them: in fenced code, between quotes
or backticks, or in the midst of a sentence they are text. Harmony's channels are read as they are written
(github.com/openai/harmony), and as they look after a tokenizer has dropped the special tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["split_thinking", "without_thinking"]

_WORDS = (
    r"(?:[a-z]{1,20}:)?(?:[a-z]{1,20}[_-]?)?(?:think(?:ing)?|thoughts?|reason(?:ing)?)(?:[_-][a-z]{1,20})?"
    r"|(?:[a-z]{1,20}:)?(?:reflection|analysis|scratch[_ -]?pad|cot(?:_[a-z_]{1,40})?"
    r"|chain[_-]of[_-]thoughts?|(?:inner_|internal_)?monologue|internal|deliberation|ponder(?:ing)?)"
)
# (opens, closes) of each form. Only the first is written in any case.
_FORMS = (
    (rf"(?i:<(?:{_WORDS})(?:\s[^<>\n]{{0,120}})?>)", rf"(?i:</(?:{_WORDS})>)"),
    (r"\[THINK(?:ING)?\]", r"\[/THINK(?:ING)?\]"),
    (r"◁think▷", r"◁/think▷"),
    (
        r"(?i:<[|｜](?:begin|start)[_▁](?:of[_▁])?(?:thought|think|thinking)[|｜]>)",
        r"(?i:<[|｜]end[_▁](?:of[_▁])?(?:thought|think|thinking)[|｜]>)",
    ),
    (r"<\|think(?:ing)?(?:_start)?\|>", r"<\|(?:/think(?:ing)?|think(?:ing)?_end)\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (r"<unused94>(?:thought)?", r"<unused95>"),
    (r"<\|channel>thought", r"<channel\|>"),
    (r'<details type="reasoning"[^<>\n]{0,120}>', r"</details>"),
    (r"\A\s*Thinking\.\.\.(?=\n)", r"(?m:^\.\.\.done thinking\.$)"),
    (r"\A\s*Here is my thought process:", r"(?m:^[ \t]*Here is my response:)"),
)
_TOKENS = re.compile(
    r"(?P<fence>^[ \t]*(?:`{3,}|~{3,}))|(?P<triple>\"{3}|'{3})"
    + "".join(f"|(?P<o{n}>{opens})|(?P<c{n}>{closes})" for n, (opens, closes) in enumerate(_FORMS)),
    re.MULTILINE,
)
_WORDS_OF_FORMS = (
    *("think", "thought", "reason", "reflection", "analysis", "scratch", "cot", "inner_", "ponder"),
    *("unused9", "assistantfinal", "<|channel", "commentary", "monologue", "<internal", "deliberat"),
)

_HARMONY = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
_HARMONY_BEGINS = re.compile(r"\s*<\|(?:channel|start)\|>")
_HARMONY_AGAIN = re.compile(
    r"<\|end\|>\s*<\|start\|>assistant|(?<![\"'`])<\|channel\|>\s*final\s*<\|message\|>"
)
_STRIPPED = re.compile(r"\s*(?:analysis|commentary)(?=[A-Z\"`*])")
_ANSWER_MARKS = re.compile(
    r"\A\s*(?:<(answer|response|solution|output|final)>|<\|begin_of_(solution)\|>|<\|START_(RESPONSE|TEXT)\|>)"
)


def without_thinking(text: str) -> str:
    """Return the answer without its reasoning; reasoning that never ends leaves what stood before it."""
    return split_thinking(text)[1]


def split_thinking(text: str) -> tuple[str, str]:
    """Return (reasoning, answer) of what a model wrote; either may be "". Linear in the text."""
    lowered = text.lower()
    for word in _WORDS_OF_FORMS:  # no generator: this is done to every reply
        if word in lowered:
            break
    else:
        return "", text
    if _HARMONY_BEGINS.match(text) or _HARMONY_AGAIN.search(text):
        return _harmony(text)
    if (end := _stripped_end(text)) >= 0:
        return text[:end].removesuffix("assistantfinal"), text[end:]
    thinking, answer = _tagged(text)
    return (thinking, _unwrapped(answer)) if thinking else ("", text)


def _harmony(text: str) -> tuple[str, str]:
    """The last message of the channel `final` is the answer."""
    messages = list(_HARMONY.finditer(text))
    finals = [message for message in messages if message[1] == "final"]
    if not messages:
        return "", text
    thinking = "".join(message[2] for message in messages if message[1] != "final")
    if not _HARMONY_BEGINS.match(text):  # the chat template has begun the first message
        thinking = text[: messages[0].start()] + thinking
    return thinking, finals[-1][2] if finals else ""


def _stripped_end(text: str) -> int:
    """Return where the reasoning of channels without their tokens ends: at `assistantfinal`; -1 for none."""
    at = text.rfind("assistantfinal")
    if at >= 0 and text[at - 1 : at] not in ('"', "'", "`", "_"):
        return at + len("assistantfinal")
    return len(text) if _STRIPPED.match(text) else -1


@dataclass
class _Fence:
    run: str
    in_string: bool = False
    """Whether a triple-quoted string is open at this place of the block."""


@dataclass
class _Place:
    """A text and what was found in it from some place on, so that no part is looked through twice."""

    text: str
    newline: int = -1
    closes: dict[int, int] = field(default_factory=dict)

    def line_end(self, at: int) -> int:
        """Return where the line that holds `at` ends."""
        if self.newline < at:
            found = self.text.find("\n", at)
            self.newline = found if found >= 0 else len(self.text)
        return self.newline

    def close(self, form: int, at: int) -> int:
        """Return where the next closing tag of a form stands, beyond the text's end for nowhere."""
        if self.closes.get(form, -1) < at:
            found = re.compile(_FORMS[form][1]).search(self.text, at)
            self.closes[form] = found.start() if found else len(self.text) + 1
        return self.closes[form]


def _tagged(text: str) -> tuple[str, str]:
    thinking: list[str] = []
    kept: list[str] = []
    at = 0
    place = _Place(text)
    opened: int | None = None
    name = inner = ""
    fence: _Fence | None = None
    for token in _TOKENS.finditer(text):
        kind = token.lastgroup or ""
        if kind == "fence":
            if opened is None:
                fence = _next_fence(fence, token[0].strip(), text[token.end() : place.line_end(token.end())])
        elif kind == "triple":
            if fence is not None and opened is None:
                fence.in_string = not fence.in_string
        elif _quoted(text, token):
            continue
        elif kind[0] == "o":
            if opened is None and fence is None and _opens(place, token, int(kind[1:])):
                kept.append(text[at : token.start()])
                at, opened, name, inner = token.end(), int(kind[1:]), _name(token), ""
            elif opened is not None and _name(token) != name:
                inner = _name(token)
        elif opened is not None and _name(token) == inner:
            inner = ""  # a remark within the reasoning, e.g. of the tokens that are left for it
        elif opened is not None:
            # Some models close by another tag than the one they opened.
            if opened == int(kind[1:]) or place.close(opened, token.end()) > len(text):
                thinking.append(text[at : token.start()])
                at, opened = token.end(), None
        elif "details" not in token[0] and _closes_alone(place, token, fence):
            thinking += [*kept, text[at : token.start()]]
            kept, at, fence = [], token.end(), None
    if opened is None:
        return "".join(thinking), "".join(kept) + text[at:]
    return "".join(thinking) + text[at:], "".join(kept)


def _next_fence(fence: _Fence | None, run: str, info: str) -> _Fence | None:
    if fence is None:
        return None if "`" in info else _Fence(run)
    ends = not info.strip() or info.lstrip()[0] in "<[◁"  # a closing tag may follow at once
    return None if run.startswith(fence.run) and ends and not fence.in_string else fence


def _name(token: re.Match[str]) -> str:
    return re.sub(r"\s.*|[^\w:]", "", token[0].lower())


def _quoted(text: str, token: re.Match[str]) -> bool:
    """Whether a tag is spoken of: a quote or a backtick stands before it (after it, where it closes)."""
    quotes = ('"', "'", "`")
    if (token.lastgroup or "")[0] == "c":
        return text[token.end() : token.end() + 1] in quotes and not text.startswith("```", token.end())
    return text[token.start() - 1 : token.start()] in quotes


def _line_before(text: str, at: int) -> str:
    begin = max(0, at - 400)
    return text[max(text.rfind("\n", begin, at) + 1, begin) : at]


def _opens(place: _Place, token: re.Match[str], form: int) -> bool:
    """Whether reasoning begins here: at a line's start, or glued to a word, or it ends on another line."""
    before = _line_before(place.text, token.start())
    if not re.sub(r"<\|[^|<>]{1,40}\|>|<(?:s|bos)>", "", before).strip() or not before[-1:].isspace():
        return True
    return place.line_end(token.end()) < place.close(form, token.end()) <= len(place.text)


def _closes_alone(place: _Place, token: re.Match[str], fence: _Fence | None) -> bool:
    """Whether all before a closing tag is reasoning whose beginning the prompt held."""
    before = _line_before(place.text, token.start())
    after = place.text[token.end() : min(place.line_end(token.end()), token.end() + 400)]
    if fence is not None:
        return not before.strip() and not after.strip() and not fence.in_string
    if not before.strip() or not before[-1:].isspace():
        return True
    return not after.strip() and re.compile(r"\s*\Z").match(place.text, token.end()) is None


def _unwrapped(answer: str) -> str:
    """Drop the tags around the answer proper that some models write after their reasoning."""
    match = _ANSWER_MARKS.match(answer)
    if match is None:
        return answer
    name = match[1] or match[2] or match[3]
    rest = answer[match.end() :]
    end = re.search(rf"(?:</{name}>|<\|end_of_{name}\|>|<\|END_{name}\|>)\s*\Z", rest)
    return rest[: end.start()] if end else rest
