"""What goes over the wire to an OpenAI-compatible endpoint, and what counts as an answer from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.protocol import Request

FailureKind = Literal[
    "rate limit", "server", "timeout", "connection", "broken", "empty", "refused", "truncated", "rejected"
]
"""Why an asking gave no answer. "rejected": the endpoint will not take this request (HTTP 400, 413, 422)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A readable answer; `doubt` says why it may be asked for again."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    doubt: Literal["empty", "refused", "truncated"] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An asking that gave no answer."""

    kind: FailureKind
    detail: str
    retry_after_s: float | None = None
    status: int = 0
    """HTTP status; 0 where none came."""


def path_of(request: Request) -> str:
    """Return the path under the base URL: chat for messages, plain completion for a raw prompt."""
    return "/completions" if isinstance(request.prompt, str) else "/chat/completions"


def body_of(request: Request, model: str, settings: EndpointSettings, length_field: str) -> dict[str, Any]:
    """Return the JSON body that asks for this request."""
    sampling = request.sampling
    body: dict[str, Any] = {"model": model}
    if isinstance(request.prompt, str):
        body["prompt"] = request.prompt
    else:
        body["messages"] = [{"role": m.role, "content": m.content} for m in request.prompt]
    body[length_field] = sampling.max_tokens
    body["temperature"] = sampling.temperature
    body["top_p"] = sampling.top_p
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    # Repeated samples of one question must differ also where the endpoint honours the seed.
    body["seed"] = sampling.seed + request.index
    for name in settings.omit:
        body.pop(name, None)
    return body


def encode(body: dict[str, Any]) -> bytes:
    """Return a body as JSON bytes; text that is not valid Unicode gets "?" for what is not."""
    try:
        return orjson.dumps(body)
    except TypeError:  # orjson refuses lone surrogates
        import json

        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def read_reply(data: bytes) -> Reply | Failure:
    """Read the body of a 200 answer; anything that is not one whole choice with text is a Failure."""
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Failure("broken", f"not JSON ({error})")
    try:
        choice = reply["choices"][0]
        message = choice.get("message")
        text = choice.get("text") if message is None else message.get("content")
        refusal = None if message is None else message.get("refusal")
        finish = choice.get("finish_reason")
        usage = reply.get("usage") or {}
        prompt_tokens = int(usage.get("prompt_tokens") or 0)
        completion_tokens = int(usage.get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        return Failure("broken", f"no whole choice in it ({type(error).__name__}: {error})")
    if refusal and not text:
        return Reply(str(refusal), "stop", prompt_tokens, completion_tokens, "refused")
    if not isinstance(text, str):
        return Failure("broken", f"a text is expected, found {type(text).__name__}")
    if finish == "content_filter":
        return Reply(text, "stop", prompt_tokens, completion_tokens, "refused")
    if finish == "length":
        return Reply(text, "length", prompt_tokens, completion_tokens, "truncated")
    doubt: Literal["empty"] | None = None if text.strip() else "empty"
    return Reply(text, "stop", prompt_tokens, completion_tokens, doubt)


def read_failure(status: int, headers: Any, data: bytes) -> Failure:
    """Read an answer whose status is not 200."""
    detail = f"HTTP {status}: {error_message(data)}"
    wait = _retry_after(headers)
    if status == 429 or status == 529:
        kind: FailureKind = "rate limit"
        if _out_of_quota(data):
            # No retry mends an empty purse (OpenAI: "insufficient_quota").
            return Failure("rejected", detail, None, 402)
    elif status in (408, 504):
        kind = "timeout"
    elif status >= 500 or status in (409, 425):
        kind = "server"
    else:
        kind = "rejected"
    return Failure(kind, detail, wait, status)


def error_message(data: bytes) -> str:
    """Return the endpoint's own words about an error, at most 300 characters, on one line."""
    text = ""
    try:
        body = orjson.loads(data)
        if isinstance(body, dict):
            error = body.get("error") or body.get("message") or body.get("detail") or ""
            text = error.get("message", "") if isinstance(error, dict) else str(error)
    except orjson.JSONDecodeError:
        text = data[:2000].decode("utf-8", "replace")
    return " ".join(str(text).split())[:300] or "no message"


def _out_of_quota(data: bytes) -> bool:
    return b"insufficient_quota" in data or b"billing_hard_limit" in data


def _retry_after(headers: Any) -> float | None:
    """Return the seconds an endpoint asks to wait: retry-after-ms, or Retry-After as seconds or as a date."""
    try:
        if (ms := headers.get("retry-after-ms")) is not None:
            return max(float(ms) / 1000, 0.0)
        if (value := headers.get("Retry-After")) is None:
            return None
        try:
            return max(float(value), 0.0)
        except ValueError:
            import email.utils
            import time

            return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
