"""An OpenAI-compatible server in front of a model: /v1/models, /v1/completions, /v1/chat/completions.

Requests that come together are written together by the model's own batching. A body must be JSON by its
content type, so that a page in a browser cannot ask by a plain form. `evolcoder serve` asks for a token off
loopback. A field that would change the answer and is not served (tools, log-probabilities, response_format,
penalties) is refused by its name.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from aiohttp import web

from evolcoder.errors import EvolcoderError, ModelError
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request, Sampling
from evolcoder.models.streaming import stream_answer

if TYPE_CHECKING:
    from evolcoder.models.local.prompt_tokens import PromptLimits

Role = Literal["system", "user", "assistant"]
LARGEST_BODY = 16 << 20
"""Bytes."""
MOST_CHOICES = 128
MOST_WAITING = 1024
"""Requests under way; more are refused with status 429."""
_DEFAULT_TOKENS = {"chat": 2048, "text": 16}
"""Most new tokens where a request names no limit; 16 is OpenAI's for completions."""


_READ = (
    *("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n"),
    *("stop", "seed", "stream", "stream_options"),
)
_NO_EFFECT = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    "parallel_tool_calls",
)
"""Fields that say nothing of the answer."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Fields that are not served, with the values by which they ask for nothing."""


class _BadRequestError(Exception):
    """A request that cannot be answered: the text that its sender gets."""

    def __init__(self, message: str, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request's body, read."""

    kind: str
    """"chat" or "text"."""
    prompts: tuple[tuple[Message, ...] | str, ...]
    sampling: Sampling
    n: int
    stream: bool
    usage_at_end: bool
    names_limit: bool
    """Whether the request itself names the most tokens of its answers."""


def application(
    model: LanguageModel, name: str, limits: PromptLimits, token: str | None = None
) -> web.Application:
    """Return the server's application; with a `token`, requests without it are refused."""
    server = _Server(model, name, limits, token)
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[server.guard])
    app.router.add_get("/v1/models", server.models)
    app.router.add_get("/v1/models/{name:.+}", server.models)
    app.router.add_post("/v1/completions", partial(server.answer, kind="text"))
    app.router.add_post("/v1/chat/completions", partial(server.answer, kind="chat"))
    return app


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve while the context lasts; yield the address (port 0: any that is free). Raises OSError."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}/v1"
    finally:
        await runner.cleanup()


class _Server:
    def __init__(self, model: LanguageModel, name: str, limits: PromptLimits, token: str | None) -> None:
        self._model = model
        self._name = name
        self._limits = limits
        self._token = token
        self._under_way = 0
        self._begun = int(time.time())

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Ask for the token, and turn errors into answers of OpenAI's form."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if self._token is not None and not hmac.compare_digest(given.encode(), self._token.encode()):
            return _error("a token is expected: Authorization: Bearer TOKEN", 401, "invalid_api_key")
        try:
            response: web.StreamResponse = await handler(request)
            return response
        except _BadRequestError as error:
            return _error(str(error), error.status, error.code)
        except web.HTTPException as error:
            return _error(error.reason, error.status)
        except EvolcoderError as error:
            return _error(str(error), 500)

    async def models(self, request: web.Request) -> web.Response:
        """Name the one model that is served."""
        card = {"id": self._name, "object": "model", "created": self._begun, "owned_by": "evolcoder"}
        if "name" not in request.match_info:
            return web.json_response({"object": "list", "data": [card]})
        self._check_name(request.match_info["name"])
        return web.json_response(card)

    async def answer(self, request: web.Request, kind: str) -> web.StreamResponse:
        """Continue one or more texts, or answer a chat by the model's own template."""
        if request.content_type != "application/json":
            raise _BadRequestError("content type application/json is expected", 415)
        try:
            body = await request.json()
        except (ValueError, RecursionError, LookupError) as error:  # the last for a charset of no name
            raise _BadRequestError(f"the body is not JSON ({error})") from error
        if not isinstance(body, dict):
            raise _BadRequestError("the body: an object is expected")
        self._check_name(body.get("model"))
        asked = _read(body, kind)
        self._check_prompts(asked)
        if self._under_way + len(asked.prompts) * asked.n > MOST_WAITING:
            raise _BadRequestError(f"more than {MOST_WAITING} answers are under way; ask again later", 429)
        self._under_way += len(asked.prompts) * asked.n
        try:
            return await (self._streamed(request, asked) if asked.stream else self._whole(asked))
        finally:
            self._under_way -= len(asked.prompts) * asked.n

    def _check_name(self, name: Any) -> None:
        if name is None:
            raise _BadRequestError("model: the name of a model is expected")
        if name != self._name:
            raise _BadRequestError(
                f"model {name!r}: {self._name!r} is served here", 404, code="model_not_found"
            )

    def _check_prompts(self, asked: _Asked) -> None:
        """Refuse a prompt before it shares a batch with others, which would fail with it."""
        context = self._limits.context_tokens
        for request in _requests(asked)[:: asked.n]:
            try:
                count = self._limits.count(request)
            except ModelError as error:
                raise _BadRequestError(str(error)) from error
            wanted = request.sampling.max_tokens if asked.names_limit else 1
            if count + wanted > context:
                raise _BadRequestError(
                    f"this model's maximum context length is {context:,} tokens; the prompt has {count:,}"
                    + (f", and max_tokens asks for {wanted:,} more" if asked.names_limit else ""),
                    code="context_length_exceeded",
                )

    async def _whole(self, asked: _Asked) -> web.Response:
        answers = await asyncio.gather(*(self._model.complete(one) for one in _requests(asked)))
        choices = [
            _choice(i, answer.finish_reason, _content(asked, answer.text)) for i, answer in enumerate(answers)
        ]
        return web.json_response({**self._head(asked), "choices": choices, "usage": _usage(answers, asked)})

    async def _streamed(self, request: web.Request, asked: _Asked) -> web.StreamResponse:
        """Send the answers as they grow, as server-sent events."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        head = self._head(asked, chunk=True)

        async def send(value: Any) -> None:
            await response.write(
                b"data: " + (value if value == b"[DONE]" else json.dumps(value).encode()) + b"\n\n"
            )

        async def one(index: int, question: Request) -> Completion:
            sent = ""
            await send({**head, "choices": [_delta(asked, index, "", begins=True)]})
            done: Completion | None = None
            held = max((len(stop) for stop in asked.sampling.stop), default=1) - 1
            async with aclosing(stream_answer(self._model, question)) as parts:
                async for part in parts:
                    done = part.completion
                    # A stop string may be half written: what could be its beginning is kept back.
                    text = part.text if done is not None else part.text[: max(0, len(part.text) - held)]
                    if len(text) > len(sent):
                        await send({**head, "choices": [_delta(asked, index, text[len(sent) :])]})
                        sent = text
            assert done is not None
            await send({**head, "choices": [_delta(asked, index, "", done.finish_reason)]})
            return done

        try:
            answers = await asyncio.gather(*(one(i, q) for i, q in enumerate(_requests(asked))))
            if asked.usage_at_end:
                await send({**head, "choices": [], "usage": _usage(answers, asked)})
        except EvolcoderError as error:
            await send({"error": {"message": str(error), "type": "server_error", "code": None}})
        await send(b"[DONE]")
        await response.write_eof()
        return response

    def _head(self, asked: _Asked, chunk: bool = False) -> dict[str, Any]:
        name = {"chat": "chat.completion", "text": "text_completion"}[asked.kind]
        return {
            "id": f"{'chatcmpl' if asked.kind == 'chat' else 'cmpl'}-{uuid.uuid4().hex}",
            "object": name + (".chunk" if chunk and asked.kind == "chat" else ""),
            "created": int(time.time()),
            "model": self._name,
        }


def _read(body: Mapping[str, Any], kind: str) -> _Asked:
    """Check a body; raises _BadRequestError that names the field."""
    _refuse_unserved(body)
    limits = [name for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    stop = () if body.get("stop") is None else body["stop"]
    stream, options = body.get("stream") or False, body.get("stream_options")
    if not isinstance(stream, bool):
        raise _BadRequestError("stream: true or false is expected")
    if options is not None and not (stream and isinstance(options, dict)):
        raise _BadRequestError("stream_options: an object is expected, where stream is true")
    return _Asked(
        kind=kind,
        prompts=(_messages(body.get("messages")),) if kind == "chat" else _texts(body.get("prompt")),
        sampling=Sampling(
            temperature=_number(body, "temperature", 1.0, 0.0, 2.0),
            top_p=_number(body, "top_p", 1.0, 1e-6, 1.0),
            max_tokens=_whole(body, limits[0] if limits else "max_tokens", _DEFAULT_TOKENS[kind], 1, 1 << 20),
            stop=_stops([stop] if isinstance(stop, str) else stop),
            seed=_whole(body, "seed", 0, -(1 << 63), 1 << 63),
        ),
        n=_whole(body, "n", 1, 1, MOST_CHOICES),
        stream=stream,
        usage_at_end=options is not None and options.get("include_usage") is True,
        names_limit=bool(limits),
    )


def _refuse_unserved(body: Mapping[str, Any]) -> None:
    """Raise _BadRequestError for a field that would change the answer and is not served."""
    for name, value in body.items():
        if name in _READ or name in _NO_EFFECT or value is None:
            continue
        known = name in _NEUTRAL
        if known and any(type(value) is type(one) and value == one for one in _NEUTRAL[name]):
            continue
        raise _BadRequestError(f"{name}: {'not served here' if known else 'unknown field'}; leave it out")


def _whole(body: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = default if body.get(name) is None else body[name]
    if type(value) is not int or not low <= value <= high:
        raise _BadRequestError(f"{name}: a whole number from {low} to {high} is expected")
    return value


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise _BadRequestError(f"{name}: a number from {low:g} to {high:g} is expected")
    return value


def _stops(stops: Any) -> tuple[str, ...]:
    if not isinstance(stops, (list, tuple)) or not all(isinstance(s, str) and s for s in stops):
        raise _BadRequestError("stop: a text or a list of texts is expected")
    return tuple(stops)


def _texts(prompt: Any) -> tuple[str, ...]:
    texts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise _BadRequestError("prompt: a text or a list of texts is expected")
    return tuple(texts)


def _messages(messages: Any) -> tuple[Message, ...]:
    if not isinstance(messages, list) or not messages:
        raise _BadRequestError("messages: a list of messages is expected")
    return tuple(_message(i, message) for i, message in enumerate(messages))


def _message(i: int, message: Any) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant"):
        raise _BadRequestError(f"messages[{i}].role: system, user or assistant is expected")
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        content = None if any(not isinstance(part, str) for part in parts) else "".join(map(str, parts))
    if not isinstance(content, str):
        raise _BadRequestError(f"messages[{i}].content: text is expected")
    return Message(cast("Role", role), content)


def _requests(asked: _Asked) -> list[Request]:
    return [Request(prompt, asked.sampling, index) for prompt in asked.prompts for index in range(asked.n)]


def _content(asked: _Asked, text: str) -> dict[str, Any]:
    return {"text": text} if asked.kind == "text" else {"message": {"role": "assistant", "content": text}}


def _delta(
    asked: _Asked, index: int, text: str, finish: str | None = None, begins: bool = False
) -> dict[str, Any]:
    content: dict[str, Any] = {"text": text}
    if asked.kind == "chat":
        delta = {"role": "assistant", "content": text} if begins else {"content": text}
        content = {"delta": {} if finish else delta}
    return _choice(index, finish, content)


def _choice(index: int, finish: str | None, content: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish, "logprobs": None, **content}


def _usage(answers: list[Completion], asked: _Asked) -> dict[str, int]:
    prompt = sum(answer.prompt_tokens for answer in answers[:: asked.n])
    written = sum(answer.completion_tokens for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _error(message: str, status: int, code: str | None = None) -> web.Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return web.json_response({"error": {"message": message, "type": kind, "code": code}}, status=status)
