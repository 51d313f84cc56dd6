"""Requests and replies of OpenAI-compatible endpoints as JSON, and which replies count as an answer."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urljoin

import orjson

from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.protocol import FinishReason, Request

FailureKind = Literal[
    "rate limit", "server", "timeout", "connection", "broken", "empty", "refused", "truncated", "rejected"
]
"""Why an attempt gave no answer. "rejected": the endpoint will not take this request (HTTP 400, 413, 422)."""


@dataclass(frozen=True, slots=True)
class Billed:
    """The tokens that an answer is billed for."""

    prompt_tokens: int
    completion_tokens: int
    told: bool = True
    """Whether the endpoint said so; where not, what was set aside counts."""


UNTOLD = Billed(0, 0, told=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A readable answer; `doubt` says why it may be asked for again."""

    text: str
    finish_reason: FinishReason
    billed: Billed
    doubt: Literal["empty", "refused", "truncated"] | None = None
    reasoning: str = ""
    """What the model thought before it answered, where the endpoint tells it apart from the answer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that gave no answer."""

    kind: FailureKind
    detail: str
    retry_after_s: float | None = None
    status: int = 0
    """HTTP status; 0 where none came, or where an answer with status 200 broke off."""
    billed: Billed = Billed(0, 0)


def path_of(request: Request) -> str:
    """Return the path under the base URL: chat for messages, plain completion for a raw prompt."""
    return "/completions" if isinstance(request.prompt, str) else "/chat/completions"


SAMPLING_FIELDS = ("temperature", "top_p", "seed", "stop")
"""Fields of a body that an endpoint may refuse and an answer can be had without."""


@dataclass(frozen=True, slots=True)
class BodyFormat:
    """How an endpoint wants its requests, as far as it has said so."""

    length_field: str = "max_tokens"
    omit: frozenset[str] = frozenset()

    def adapted(self, failure: Failure, settings: EndpointSettings) -> BodyFormat | None:
        """Return the format that a refusal asks for; None where it asks for none that is new."""
        if failure.status not in (400, 422):
            return None
        words = failure.detail
        if (
            self.length_field == "max_tokens"
            and settings.max_tokens_field == "auto"
            and "max_completion_tokens" in words
        ):
            return replace(self, length_field="max_completion_tokens")
        if not _UNSUPPORTED.search(words):
            return None
        named = [name for name in SAMPLING_FIELDS if re.search(rf"\b{name}\b", words)]
        new = frozenset(named[:1]) - self.omit
        return replace(self, omit=self.omit | new) if new else None


_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not (?:permitted|allowed|available)|"
    r"extra input|deprecated|invalid|too (?:many|long)|at most|cannot both",
    re.IGNORECASE,
)


def first_format(settings: EndpointSettings) -> BodyFormat:
    """Return the format of the first request."""
    named = settings.max_tokens_field
    return BodyFormat("max_tokens" if named == "auto" else named, frozenset(settings.omit))


def body_of(request: Request, model: str, settings: EndpointSettings, form: BodyFormat) -> dict[str, Any]:
    """Return the JSON body that asks for this request."""
    sampling = request.sampling
    body: dict[str, Any] = {"model": model}
    if isinstance(request.prompt, str):
        body["prompt"] = request.prompt
    else:
        body["messages"] = [{"role": m.role, "content": m.content} for m in request.prompt]
    body[form.length_field] = sampling.max_tokens
    body["temperature"] = sampling.temperature
    body["top_p"] = sampling.top_p
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    # Repeated samples of one question must differ also where the endpoint honours the seed.
    body["seed"] = sampling.seed + request.index
    for name in form.omit:
        body.pop(name, None)
    body.update(settings.further_fields)
    if sampling.further_fields:
        body.update(json.loads(sampling.further_fields))
    return body


def ended_at_stop(reply: Reply, stop: tuple[str, ...]) -> Reply:
    """Return an answer cut before the first of its stop strings, for an endpoint that takes none."""
    at = min((found for text in stop if (found := reply.text.find(text)) >= 0), default=-1)
    return reply if at < 0 else replace(reply, text=reply.text[:at], finish_reason="stop", doubt=None)


def encode(body: Any) -> bytes:
    """Return a body as JSON bytes; text that is not valid Unicode gets "?" for what is not."""
    try:
        return orjson.dumps(body)
    except TypeError:  # orjson refuses lone surrogates
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def read_reply(data: bytes) -> Reply | Failure:
    """Read the body of a 200 answer; anything that is not one whole answer is a Failure.

    Either carries the tokens it is billed for. A reason to stop that is neither the model's own end, the
    length limit nor a filter means that the text is no answer.
    """
    try:
        body = parsed(data)
    except (ValueError, RecursionError) as error:
        if (begins := data.lstrip()[:1]) not in (b"{", b"["):
            why = f"not JSON, it begins {data[:120].decode('utf-8', 'replace')!r}"
            # A page is no model's; an event stream that nobody asked for is billed all the same.
            return _no_answer(why, Billed(0, 0) if begins == b"<" else _billed_in_events(data))
        why = f"not JSON ({error})"
        return Failure("broken", why, billed=UNTOLD) if _broke_off(error) else _no_answer(why)
    body, found = _unlisted(body), type(body).__name__
    if not isinstance(body, dict):
        return _no_answer(f"an object is expected, found {found}")
    billed = billed_of(body.get("usage"))
    choice = _first_choice(body.get("choices"))
    if found == "list":
        why = f"an object is expected, found {found}"
        return _told_error(body.get("error"), billed) or _no_answer(why, billed)
    if choice is None:
        return _told_error(body.get("error"), billed) or _no_answer(
            f"no choice in it: {data[:120].decode('utf-8', 'replace')}", billed
        )
    if (told := _told_error(choice.get("error") or body.get("error"), billed)) is not None:
        return told
    message = _unlisted(choice.get("message") or choice.get("delta"))
    if not isinstance(message, dict):
        message = {"content": message or choice.get("text")}
    text, refusal = text_of(message.get("content")), message.get("refusal")
    finish = finish_of(choice)
    if text and billed.completion_tokens == 0:
        billed = UNTOLD
    whole = Reply(text or "", "stop", billed, reasoning=reasoning_of(message))
    if finish == "content_filter" or (refusal and not text):
        said = text or _unicode(str(refusal or ""))
        return replace(whole, text=said, finish_reason="content_filter", doubt="refused")
    if finish == "length":
        return replace(whole, finish_reason="length", doubt="truncated")
    if finish is None or (text is None and not finish):
        return _no_answer(f"it ended with {choice.get('finish_reason') or 'no text'!r}", billed)
    if not text and str(choice.get("finish_reason")) in _CALLED:
        return _no_answer("a tool is called instead of answering", billed)
    if text is None and message.get("content") is not None:
        # It is no empty answer: there is one that this cannot read.
        return _no_answer(f"a text is expected, found {str(message['content'])[:120]}", billed)
    return whole if whole.text.strip() else replace(whole, doubt="empty")


def _unlisted(body: Any) -> Any:
    """Return what stands in a list of one; some servers wrap their errors so."""
    return body[0] if isinstance(body, list) and len(body) == 1 else body


def _first_choice(choices: Any) -> dict[str, Any] | None:
    """Return the choice that says it is the first; where none does, the one that stands first."""
    found = [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
    for choice in found:
        if choice.get("index") == 0:
            return choice
    return found[0] if found else None


def _billed_in_events(data: bytes) -> Billed:
    """Return what the events of a stream say they are billed for; the last of them counts."""
    for line in reversed(data.splitlines()):
        if b'"usage"' in line:
            with suppress(ValueError, RecursionError):
                event = parsed(line.removeprefix(b"data:"))
                if isinstance(event, dict) and (billed := billed_of(event.get("usage"))).told:
                    return billed
    return UNTOLD


_CALLED = ("tool_calls", "function_call")
_ENDED = ("stop", "eos", "eos_token", "stop_sequence", "stop_token", "end_turn", *_CALLED)
_CUT_OFF = ("length", "max_tokens", "model_length")
_FILTERED = ("content_filter", "safety", "refusal", "recitation", "blocklist", "prohibited_content")
_MOST_TOKENS = 1e8


def finish_of(choice: Mapping[str, Any]) -> Literal["", "stop", "length", "content_filter"] | None:
    """Return why an answer ended; "" where that is not told, None for a reason that makes it no answer."""
    told = str(choice.get("finish_reason") or "").lower()
    if not told:
        return ""
    if told in _FILTERED:
        return "content_filter"
    return "length" if told in _CUT_OFF else "stop" if told in _ENDED else None


def parsed(data: bytes) -> Any:
    """Read JSON as servers write it: with a byte order mark, comments of an event stream before it, control
    characters in strings, or text that is no valid Unicode; raises ValueError, RecursionError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    while text.lstrip().startswith(":"):  # keep-alive comments
        text = text.partition("\n")[2]
    return json.loads(text, strict=False)


def _broke_off(error: Exception) -> bool:
    """Whether a text is no JSON because its end is missing."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())


def _unicode(text: str) -> str:
    """Return a text whose lone surrogates, which no file takes, are replacement characters."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def text_of(content: Any) -> str | None:
    """Return the text of a message: as it is, or its text parts joined; None where there is none."""
    if not isinstance(content, list):
        return _text_of_part(content)
    if content and not any(isinstance(part, str | dict) for part in content):
        return None
    return "".join(_text_of_part(part) or "" for part in content)


def _text_of_part(part: Any) -> str | None:
    if isinstance(part, dict) and part.get("type") in (None, "text", "output_text"):
        text = part.get("text")
        part = text.get("value") if isinstance(text, dict) else text  # as threads of assistants have it
    return _unicode(part) if isinstance(part, str) else None


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return what an endpoint tells of a model's reasoning, apart from the answer."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            return _unicode(message[name])
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    told = [p.get(p["type"]) for p in parts if isinstance(p, dict) and p.get("type") in _THINKING_PARTS]
    return "".join(text if isinstance(text, str) else text_of(text) or "" for text in told)


_THINKING_PARTS = ("thinking", "reasoning")


def billed_of(usage: Any) -> Billed:
    """Read `usage`; numbers that no request can come to count as not told."""
    if not isinstance(usage, dict):
        return UNTOLD
    try:
        prompt = _tokens(usage.get("prompt_tokens"))
        # Anthropic's names: what its cache read or wrote is billed beside its input.
        prompt = prompt or sum(_tokens(usage.get(name)) for name in _INPUT_APART)
        completion = _tokens(usage.get("completion_tokens") or usage.get("output_tokens"))
        total = _tokens(usage.get("total_tokens"))
        details = usage.get("completion_tokens_details")
        thought = _tokens(details.get("reasoning_tokens")) if isinstance(details, dict) else 0
    except (TypeError, ValueError, OverflowError):
        return UNTOLD
    # Some vendors count reasoning only in the total, or only apart.
    completion = max(completion + thought if thought > completion else completion, total - prompt)
    return Billed(prompt, completion, prompt + completion > 0)


_INPUT_APART = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def _tokens(told: Any) -> int:
    """Read a number of tokens; raises TypeError, ValueError, OverflowError for what is none."""
    if isinstance(told, bool) or not 0 <= (n := float(told or 0)) <= _MOST_TOKENS:
        raise ValueError(f"{told!r:.80} tokens")
    return int(n)


def _told_error(error: Any, billed: Billed) -> Failure | None:
    """Return the failure that an error inside a 200 body tells: its code counts as the status."""
    if not error or (isinstance(error, dict) and not any(error.values())):
        return None
    code = str(error.get("code")) if isinstance(error, dict) else ""
    status = int(code) if re.fullmatch(r"[45][0-9]{2}", code) else 0
    data = json.dumps({"error": error}).encode()
    own = Billed(billed.prompt_tokens, billed.completion_tokens)
    if _out_of_quota(data) or status == 429 or (400 <= status < 500 and status not in (408, 409, 425)):
        return replace(read_failure(status or 429, {}, data), billed=own)
    # Status 200 tells a server that speaks and never answers from one that is down.
    return Failure("server", error_message(data), None, 200, own)


def _no_answer(detail: str, billed: Billed | None = None) -> Failure:
    return Failure("broken", detail, None, 200, UNTOLD if billed is None else billed)


def read_failure(status: int, headers: Any, data: bytes, asked: str = "") -> Failure:
    """Read an answer whose status is no success, to a request to the address `asked`."""
    detail = f"HTTP {status}: {error_message(data)}"
    if status in _MOVED and (place := headers.get("Location")):
        # A redirect that is followed could carry the key to another host.
        detail = f"HTTP {status}: moved to {urljoin(asked, place)}; name that address"
    wait, billed = _retry_after(headers), Billed(0, 0)
    if status == 429 or status == 529:
        kind: FailureKind = "rate limit"
        if _out_of_quota(data):
            # No retry mends an exhausted quota (OpenAI: "insufficient_quota").
            return Failure("rejected", detail, None, 402)
        if _TOO_LARGE.search(data):
            return Failure("rejected", detail, None, 413)
    elif status in _GAVE_UP:
        kind, billed = "timeout", UNTOLD  # a gateway's patience ended; the model behind it may go on
    elif status >= 500 or status in (409, 425):
        kind = "server"
    else:
        kind = "rejected"
    return Failure(kind, detail, wait, status, billed)


_GAVE_UP = (408, 504, 524)
_MOVED = (301, 302, 303, 307, 308)
_OWN_STATUS = (413, 451)
_OWN_WORDS = re.compile(
    r"content_filter|content management|moderation|flagged|content.policy|safety|context.?length|"
    r"context.?window|context.?size|too long|too many tokens|maximum.{0,40}tokens|string_above_max_length",
    re.IGNORECASE,
)


def is_own_refusal(failure: Failure) -> bool:
    """Whether a refusal is about this request's own text: filtered, too long, unlawful."""
    return failure.status in _OWN_STATUS or _OWN_WORDS.search(failure.detail) is not None


def error_message(data: bytes) -> str:
    """Return the endpoint's own words about an error, at most 300 characters, on one line."""
    text: Any = data[:2000].decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        body = _unlisted(parsed(data))
        if isinstance(body, dict):
            error = body.get("error") or body.get("message") or body.get("detail") or text
            text = error.get("message") or text if isinstance(error, dict) else error
    return " ".join(_unicode(str(text)).split())[:300] or "no message"


_TOO_LARGE = re.compile(rb"request too large|tokens must be reduced", re.IGNORECASE)
"""A request above the limit of a whole minute, which OpenAI refuses with HTTP 429; it never fits."""
_NO_MONEY = re.compile(
    rb"insufficient_quota|billing_hard_limit|credit balance|insufficient (?:balance|funds|credit)",
    re.IGNORECASE,
)


def _out_of_quota(data: bytes) -> bool:
    return _NO_MONEY.search(data) is not None


def _retry_after(headers: Any) -> float | None:
    """Return the seconds an endpoint asks to wait: retry-after-ms, or Retry-After as seconds or as a date.

    A date is one of the endpoint's clock, which `Date` tells. What cannot be read counts as not said.
    """
    for name, unit in (("retry-after-ms", 1000), ("Retry-After", 1)):
        value = str(headers.get(name) or "").strip()
        with suppress(ValueError):
            seconds = float(value) / unit
            return None if math.isnan(seconds) else max(seconds, 0.0)
        if (until := _timestamp(value)) is not None:
            now = _timestamp(str(headers.get("Date") or ""))
            return max(until - (time.time() if now is None else now), 0.0)
    return None


def _timestamp(date: str) -> float | None:
    """Return the seconds since 1970 of a date as HTTP writes it; None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
