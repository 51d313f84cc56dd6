"""The OpenAI Batch API: requests go as one file and are answered within a day, for half the price.

What is submitted is in the journal before and after it is submitted, so a killed run finds its batches again
and pays for none twice. Answers go to the journal first, then to the callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from evolcoder.errors import EndpointError, EvolcoderError, RequestFailedError, RequestRefusedError
from evolcoder.models.budget import SpendingBudget
from evolcoder.models.endpoint.address import (
    address_of,
    connection_to,
    masked,
    open_session,
    read_body,
    shown_url,
    words_of,
)
from evolcoder.models.endpoint.chat_format import (
    BodyFormat,
    Failure,
    Reply,
    body_of,
    encode,
    ended_at_stop,
    error_message,
    first_format,
    is_own_refusal,
    path_of,
    read_failure,
    read_reply,
)
from evolcoder.models.endpoint.pricing import Price
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.models.stats import RequestStats
from evolcoder.runs import content_hash

MOST_IN_BATCH = 50_000
"""Requests a batch file may hold (OpenAI's limit)."""
_MOST_BYTES = 190_000_000
_QUIET_S = 1.0
"""A batch is sent when nobody has asked for this long."""
_MOST_ATTEMPTS = 3
_NETWORK_ATTEMPTS = 6
_QUEUE_WAITS = 120
"""How long a batch waits for room in a queue that is full, in times of `batch_wait_s` (one hour)."""
_LONGEST_QUEUE_WAIT = 16
"""Longest time between two tries, in times of `batch_wait_s`."""
_SUBMIT_ATTEMPTS = 3
_MOST_PAGES = 100
_MOST_FILE_BYTES = 2 << 30
_FINISHED = ("completed", "failed", "expired", "cancelled")


@dataclass(slots=True)
class _Waiting:
    """A request that waits to be answered."""

    request: Request
    answer: asyncio.Future[Completion]
    attempts: int = 0
    reformatted: int = 0
    """Attempts that failed only because the endpoint wants its requests otherwise."""
    form: BodyFormat = field(default_factory=BodyFormat)
    """Of the last attempt."""
    expected_usd: float = 0.0


@dataclass(slots=True)
class _LineResult:
    """What a batch brought, by key."""

    answers: dict[str, Completion] = field(default_factory=dict)
    errors: dict[str, Failure] = field(default_factory=dict)
    usd: dict[str, float] = field(default_factory=dict)
    """What each line is billed for, whether its answer is of use or not."""


class _BatchFailedError(EndpointError):
    """The endpoint made nothing of a whole batch."""


class _MaybeArrivedError(EndpointError):
    """Nobody knows whether the endpoint made the batch."""


class BatchModel(LanguageModel):
    """A `LanguageModel` behind the Batch API of one address.

    Whoever uses it should ask for many at once: what is asked within a second goes into one batch. Raises
    ModelError for an address that is none and a vendor's missing key.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        settings: EndpointSettings,
        journal: Journal,
        *,
        price: Price | None = None,
        budget: SpendingBudget | None = None,
        stats: RequestStats | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._connection = connection_to(base_url, settings)
        self._base_url, self._key = self._connection.base_url, self._connection.key
        self._shown = shown_url(self._base_url)
        self._journal = journal
        self._price = price
        self._budget = budget or SpendingBudget()
        self._format = first_format(settings)
        self._session: aiohttp.ClientSession | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._recovered: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._worked_on: set[str] = set()
        """Batches that the endpoint is at work on."""
        self._last_asked = 0.0
        self.stats = stats or RequestStats()
        """Counts of this model's requests."""

    @property
    def name(self) -> str:
        """The model's name at its endpoint."""
        return self._name

    @property
    def key_name(self) -> str:
        """What requests are keyed by: other fields in each request make another model of it."""
        further = self._settings.further_fields
        return self._name + json.dumps(further, sort_keys=True) if further else self._name

    async def complete(self, request: Request) -> Completion:
        """Answer one request, when its batch is done.

        Raises EndpointError where the batch fails, RequestFailedError where this request alone does,
        BudgetExhaustedError at a limit the user set.
        """
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = open_session(self._connection, self._settings)
            self._recovered = loop.create_task(self._recover())
        assert self._recovered is not None
        await asyncio.shield(self._recovered)
        key = request.key(self.key_name)
        if (found := self._journal.find(key)) is not None:
            return found
        waiting = self._waiting[key] = _Waiting(request, loop.create_future())
        self._wake_sender()
        return await waiting.answer

    async def close(self) -> None:
        """Stop waiting; batches that were submitted go on, and the next run fetches them."""
        tasks = [task for task in (self._recovered, self._sender, *self._running) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ---- sending ----------------------------------------------------------------------------------

    def _wake_sender(self) -> None:
        loop = asyncio.get_running_loop()
        self._last_asked = loop.time()
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._send_when_quiet())

    async def _send_when_quiet(self) -> None:
        try:
            await self._send_batches()
        except Exception as error:  # whatever it is, those who wait must hear of it
            self._fail(self._waiting, self._told(error))

    async def _send_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if loop.time() - self._last_asked < _QUIET_S and len(self._waiting) < MOST_IN_BATCH:
                await asyncio.sleep(_QUIET_S / 4)
                continue
            batch, lines = self._take_batch()
            if not batch:
                if self._running:  # their outcome tells whether there is room in the budget
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    continue
                self._fail(self._waiting, self._budget.exhausted())
                return
            task = loop.create_task(self._run_batch(batch, lines))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _take_batch(self) -> tuple[dict[str, _Waiting], list[bytes]]:
        """Take what fits into one batch and into the budget; the paths of a batch must be equal."""
        batch: dict[str, _Waiting] = {}
        lines: list[bytes] = []
        size, path = 0, ""
        for key, waiting in list(self._waiting.items()):
            path = path or path_of(waiting.request)
            if path_of(waiting.request) != path or len(batch) == MOST_IN_BATCH:
                continue
            body = body_of(waiting.request, self._name, self._settings, self._format)
            waiting.form = self._format
            line = encode({"custom_id": key, "method": "POST", "url": f"/v1{path}", "body": body})
            if size + len(line) > _MOST_BYTES:
                break
            waiting.expected_usd = self._expected_usd(waiting.request, len(line))
            if self._budget.limited and not self._budget.try_take(waiting.expected_usd):
                break
            batch[key] = self._waiting.pop(key)
            lines.append(line)
            size += len(line)
        return batch, lines

    async def _run_batch(self, batch: dict[str, _Waiting], lines: Sequence[bytes]) -> None:
        try:
            outcome = await self._answers_of(batch, lines)
        except Exception as error:  # whatever it is, those who wait must hear of it
            self._settle(batch, {})
            self._fail(batch, self._told(error))
            return
        self._settle(batch, outcome.usd)
        for key, waiting in batch.items():
            if waiting.answer.done():
                continue
            if (answer := outcome.answers.get(key)) is not None:
                waiting.answer.set_result(answer)
                continue
            failure = outcome.errors.get(key, Failure("broken", "no answer in the batch"))
            waiting.attempts += 1
            self.stats.retries["batch"] += 1
            reformatted = self._learn_format(waiting.form, failure)
            waiting.reformatted += reformatted
            final = failure.kind == "rejected" and (bool(outcome.answers) or is_own_refusal(failure))
            if final and not reformatted:
                why = f"{self._shown}: refuses one request ({failure.detail})"
                waiting.answer.set_exception(RequestRefusedError(why))
            elif waiting.attempts - waiting.reformatted >= _MOST_ATTEMPTS:
                why = f"no valid answer in {waiting.attempts} batches ({failure.detail})"
                waiting.answer.set_exception(RequestFailedError(f"{self._shown}: {why}"))
            else:
                self._waiting[key] = waiting
                self._wake_sender()

    def _learn_format(self, sent: BodyFormat, failure: Failure) -> bool:
        """Whether a refusal asks for another format than was sent; it is kept for all that follows."""
        if (form := sent.adapted(failure, self._settings)) is None:
            return False
        self.stats.left_out |= dict.fromkeys(form.omit - sent.omit)
        self._format = BodyFormat(form.length_field, self._format.omit | form.omit)
        return True

    async def _answers_of(self, batch: dict[str, _Waiting], lines: Sequence[bytes]) -> _LineResult:
        """Submit a batch and wait for its answers; again after a while where the queue was full."""
        file = await self._upload(lines)
        turn, waited_s, longest_s = 0, 0.0, _QUEUE_WAITS * self._settings.batch_wait_s
        while True:
            tried = sorted((key, w.attempts) for key, w in batch.items())
            marker = content_hash("batch", tried, turn) if turn else content_hash("batch", tried)
            await self._remember(marker, None, "intended", len(batch))
            batch_id = await self._submit(marker, file, orjson.loads(lines[0])["url"])
            await self._remember(marker, batch_id, "submitted", len(batch))
            self.stats.sent += len(batch)
            self._journal.count("sent", len(batch))
            try:
                return await self._fetch(marker, batch_id, batch)
            except _BatchFailedError as error:
                if "token_limit" not in str(error) or waited_s > longest_s:
                    raise
            wait_s = self._settings.batch_wait_s * min(2**turn, _LONGEST_QUEUE_WAIT)
            await asyncio.sleep(wait_s)
            turn += 1
            # While other batches of this run are worked on, room will come.
            waited_s += 0.0 if self._worked_on else wait_s

    def _told(self, error: Exception) -> EvolcoderError:
        if isinstance(error, EvolcoderError):
            return error
        return EndpointError(f"{self._shown}: {type(error).__name__}: {error}")

    async def _upload(self, lines: Sequence[bytes]) -> str:
        """Send the file of a batch and return its id."""
        content, content_type = _form({"purpose": b"batch"}, "batch.jsonl", b"\n".join(lines) + b"\n")
        file = await self._ask("POST", "/files", content, content_type)
        return _id_of(file, f"{self._shown}/files")

    async def _submit(self, marker: str, file: str, path: str) -> str:
        """Make a batch of a file and return its id."""
        body = {
            "input_file_id": file,
            "endpoint": path,
            "completion_window": "24h",
            "metadata": {"evolcoder": marker},
        }
        for _ in range(_SUBMIT_ATTEMPTS):
            try:
                batch = await self._ask("POST", "/batches", orjson.dumps(body))
            except _MaybeArrivedError as error:
                told = error
                if (found := await self._find_by_marker(marker)) is not None:
                    return found
            else:
                return _id_of(batch, f"{self._shown}/batches")
        raise told

    # ---- fetching ---------------------------------------------------------------------------------

    async def _recover(self) -> None:
        """Fetch what earlier sittings submitted and did not live to read."""
        for marker, batch_id, state in self._journal.open_batches(self._shown):
            found = batch_id or await self._find_by_marker(marker)
            if found is None:  # the run died before the batch was made
                await self._remember(marker, None, "never made", 0)
                continue
            if state == "intended":
                await self._remember(marker, found, "submitted", 0)
            with contextlib.suppress(_BatchFailedError):
                await self._fetch(marker, found, {})

    async def _find_by_marker(self, marker: str) -> str | None:
        """Return the id of the batch with this marker; None only where the endpoint lists all and not it."""
        after = ""
        for _ in range(_MOST_PAGES):
            listed = await self._ask("GET", f"/batches?limit=100{after}")
            batches = [batch for batch in listed.get("data") or [] if isinstance(batch, dict)]
            for batch in batches:
                if (batch.get("metadata") or {}).get("evolcoder") == marker:
                    return _id_of(batch, f"{self._shown}/batches")
            if not listed.get("has_more") or not batches:
                break
            after = f"&after={batches[-1].get('id')}"
        return None

    async def _fetch(self, marker: str, batch_id: str, asked: Mapping[str, _Waiting]) -> _LineResult:
        """Wait for a batch, make its answers durable, and return what it brought.

        `asked`: its requests, where they are known.
        """
        try:
            while (batch := await self._ask("GET", f"/batches/{batch_id}")).get("status") not in _FINISHED:
                if batch.get("status") != "validating":  # a queue without room shows then
                    self._worked_on.add(batch_id)
                await asyncio.sleep(self._settings.batch_wait_s)
        finally:
            self._worked_on.discard(batch_id)
        found = _LineResult()
        for name in ("output_file_id", "error_file_id"):
            if batch.get(name):
                data = await self._ask_bytes("GET", f"/files/{batch[name]}/content")
                self._read_lines(data, found, asked)
        if found.answers:
            await asyncio.gather(*(self._journal.put(k, a, self._name) for k, a in found.answers.items()))
        await self._remember(marker, batch_id, str(batch["status"]), len(found.answers))
        if batch["status"] == "failed" and not found.answers:
            why = orjson.dumps(batch.get("errors")).decode()[:300]
            raise _BatchFailedError(f"{self._shown}: batch {batch_id} failed ({why})")
        return found

    def _read_lines(self, data: bytes, found: _LineResult, asked: Mapping[str, _Waiting]) -> None:
        for line in data.splitlines():
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
                key = str(row["custom_id"])
                bytes.fromhex(key)
                response = row.get("response") or {}
                status, body = int(response.get("status_code") or 0), orjson.dumps(response.get("body"))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
                continue  # its caller asks again
            if status != 200:
                told = orjson.dumps(row["error"]) if row.get("error") else body
                found.errors[key] = read_failure(status, {}, told)
                continue
            reply = read_reply(body)
            billed = reply if isinstance(reply, Reply) else reply.billed
            is_told = reply.tokens_told if isinstance(reply, Reply) else reply.billed.told
            waiting = asked.get(key)
            usd = waiting.expected_usd if waiting is not None else 0.0
            if isinstance(reply, Reply) and waiting is not None and "stop" in waiting.form.omit:
                reply = ended_at_stop(reply, waiting.request.sampling.stop)
            if is_told and self._price is not None:
                usd = self._price(billed.prompt_tokens, billed.completion_tokens)
            self.stats.estimated += not is_told and self._price is not None
            self.stats.prompt_tokens += billed.prompt_tokens
            self.stats.completion_tokens += billed.completion_tokens
            self.stats.usd += usd
            found.usd[key] = usd
            if isinstance(reply, Reply):
                found.answers[key] = self._completion(reply, usd)
                continue
            found.errors[key] = reply
            if usd:
                self._journal.count("wasted usd", usd)
                self._journal.count("wasted tokens", billed.prompt_tokens + billed.completion_tokens)

    def _completion(self, reply: Reply, usd: float) -> Completion:
        self.stats.answered += 1
        self.stats.truncated += reply.finish_reason == "length"
        return Completion(
            reply.text,
            reply.finish_reason,
            reply.prompt_tokens,
            reply.completion_tokens,
            None if self._price is None else usd,
            model=self._name,
            reasoning=reply.reasoning,
        )

    # ---- the wire and the books -------------------------------------------------------------------

    async def _ask(
        self, method: str, path: str, data: bytes | None = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        return _object_of(await self._ask_bytes(method, path, data, content_type, _object_of))

    async def _ask_bytes(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        content_type: str = "application/json",
        check: Callable[[bytes], object] = bytes,
    ) -> bytes:
        """Ask with a few retries; only questions that may be repeated are repeated after a cut connection.

        `check` raises ValueError for an answer of no use. Raises EndpointError; _MaybeArrivedError where a
        batch may have been made although no answer says so.
        """
        assert self._session is not None
        why, maybe_arrived = "", False
        for attempt in range(_NETWORK_ATTEMPTS):
            try:
                async with self._session.request(
                    method,
                    address_of(self._base_url, path),
                    data=data,
                    headers={"Content-Type": content_type},
                    allow_redirects=False,
                ) as response:
                    body = await read_body(response, _MOST_FILE_BYTES)
                    if response.status in (200, 201):
                        check(body)
                        return body
                    why = f"HTTP {response.status}: {error_message(body)}"
                    maybe_arrived = response.status >= 500
                    if response.status < 500 and response.status != 429:
                        break
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                why, maybe_arrived = words_of(error), True
            if method != "GET" and maybe_arrived:
                break
            await asyncio.sleep(min(0.5 * 2**attempt, 10.0))
        why = masked(why, self._key, self._base_url)
        kind = _MaybeArrivedError if maybe_arrived and path == "/batches" else EndpointError
        raise kind(f"{self._shown}{path}: {why}; what was answered is safe, the same command continues")

    async def _remember(self, marker: str, batch_id: str | None, state: str, n_requests: int) -> None:
        await self._journal.record_batch(self._shown, marker, batch_id, state, n_requests)

    def _expected_usd(self, request: Request, size: int) -> float:
        if self._price is None:
            return 0.0
        return self._price(size // 4, request.sampling.max_tokens)

    def _settle(self, batch: dict[str, _Waiting], usd: Mapping[str, float]) -> None:
        if self._budget.limited:
            for key, waiting in batch.items():
                self._budget.settle(waiting.expected_usd, usd.get(key, 0.0))

    def _fail(self, batch: dict[str, _Waiting], error: EvolcoderError) -> None:
        for waiting in list(batch.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        batch.clear()


def _object_of(data: bytes) -> dict[str, Any]:
    """Read an answer of the files or batches API; raises ValueError in the endpoint's words."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ValueError(f"JSON is expected, found {data[:80].decode('utf-8', 'replace')!r}") from None
    if not isinstance(body, dict):
        raise ValueError(f"an object is expected, found {type(body).__name__}")
    if body.get("error"):
        raise ValueError(error_message(data))
    return body


def _id_of(body: dict[str, Any], where: str) -> str:
    if not body.get("id"):
        raise EndpointError(f"{where}: an id is expected, found {orjson.dumps(body)[:120].decode()}")
    return str(body["id"])


def _form(fields: dict[str, bytes], filename: str, content: bytes) -> tuple[bytes, str]:
    """Return a multipart form with one file, and its content type."""
    boundary = b"evolcoder-" + content_hash(content).encode()
    parts = []
    for name, value in fields.items():
        head = b'Content-Disposition: form-data; name="%s"\r\n\r\n' % name.encode()
        parts += [b"--", boundary, b"\r\n", head, value, b"\r\n"]
    head = b'Content-Disposition: form-data; name="file"; filename="%s"\r\n' % filename.encode()
    head += b"Content-Type: application/octet-stream\r\n\r\n"
    parts += [b"--", boundary, b"\r\n", head, content, b"\r\n--", boundary, b"--\r\n"]
    return b"".join(parts), f"multipart/form-data; boundary={boundary.decode()}"
