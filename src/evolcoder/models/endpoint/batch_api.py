"""The OpenAI Batch API: requests go as one file and are answered within a day, for half the price.

What is submitted is in the journal before and after it is submitted, so a killed run finds its batches again
and pays for none twice. Answers go to the journal first, then to the callers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from evolcoder.errors import EndpointError, EvolcoderError, RequestFailedError, RequestRefusedError
from evolcoder.models.budget import SpendingBudget
from evolcoder.models.endpoint import chat_format
from evolcoder.models.endpoint.address import refusal_hint
from evolcoder.models.endpoint.batch_service import FINISHED, BatchService, GoneError
from evolcoder.models.endpoint.chat_format import UNTOLD, Billed, BodyFormat, Failure, Reply
from evolcoder.models.endpoint.pricing import Price
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.endpoint.spending import Spending
from evolcoder.models.journal.journal import Journal
from evolcoder.models.journal.totals import BATCH_USD, Batch
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.models.stats import RequestStats
from evolcoder.runs import content_hash

MOST_IN_BATCH = 50_000
"""Requests a batch file may hold (OpenAI's limit)."""
_MOST_BYTES = 190_000_000
_QUIET_S = 1.0
"""A batch is sent when nobody has asked for this long."""
_MOST_ATTEMPTS, _MOST_REFUSALS = 3, 2
_QUEUE_WAITS = 120
"""How long a batch waits for room in a queue that is full, in times of `batch_wait_s` (one hour)."""
_FETCHES = 3
"""Times that answers are fetched of a batch that has more than came."""
_LONGEST_QUEUE_WAIT = 16
"""Longest time between two tries, in times of `batch_wait_s`."""


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
    expected: Billed = UNTOLD
    """What an attempt is expected to come to."""
    most_usd: float = 0.0
    """The most that it can cost."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is known of a line when its answer is read."""

    expected: Billed
    stop: tuple[str, ...] = ()
    """Stop strings that were not sent."""


@dataclass(slots=True)
class _Brought:
    """What a batch brought, by key."""

    status: str = ""
    answers: dict[str, Completion] = field(default_factory=dict)
    errors: dict[str, Failure] = field(default_factory=dict)
    usd: dict[str, float] = field(default_factory=dict)
    """What each line is billed for, whether its answer is of use or not; until it is told, as expected."""


class _BatchFailedError(EndpointError):
    """The endpoint made nothing of a whole batch."""


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
        self._service = BatchService(base_url, settings)
        self._journal = journal
        self._format = chat_format.first_format(settings)
        self._waiting: dict[str, _Waiting] = {}
        self._recovered: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._worked_on: set[str] = set()
        """Batches that the endpoint is at work on."""
        self._last_asked = 0.0
        self.stats = stats or RequestStats()
        """Counts of this model's requests."""
        self._spending = Spending(price, budget, journal, self.stats)

    @property
    def name(self) -> str:
        """The model's name at its endpoint."""
        return self._name

    @property
    def key_name(self) -> str:
        """What requests are keyed by: other fields in each request make another model of it."""
        return self._settings.key_name(self._name)

    @property
    def _asked_as(self) -> str:
        told = {"api_key_env": self._settings.api_key_env, "organization": self._settings.organization}
        told["project"] = self._settings.project
        return ", ".join(f"{name} {value}" for name, value in told.items() if value) or "nobody"

    async def complete(self, request: Request) -> Completion:
        """Answer one request, when its batch is done; raises RequestFailedError if this one alone fails."""
        loop = asyncio.get_running_loop()
        if self._recovered is None:
            self._recovered = loop.create_task(self._recover())
        await asyncio.shield(self._recovered)
        key = request.key(self.key_name)
        if (found := self._journal.find(key)) is not None:
            return found
        waiting = self._waiting[key] = _Waiting(request, loop.create_future())
        self._wake_sender()
        return await waiting.answer

    async def collect(self) -> None:
        """Fetch what earlier sittings submitted, for one that asks in another way now.

        Raises EndpointError where it cannot be had, or is not answered yet.
        """
        try:
            await self._recover(wait=False)
        finally:
            await self._service.close()

    async def close(self) -> None:
        """Stop waiting; batches that were submitted go on, and the next run fetches them."""
        tasks = [task for task in (self._recovered, self._sender, *self._running) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._service.close()

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
        loop, budget = asyncio.get_running_loop(), self._spending.budget
        while self._waiting:
            if loop.time() - self._last_asked < _QUIET_S and len(self._waiting) < MOST_IN_BATCH:
                await asyncio.sleep(_QUIET_S / 4)
                continue
            batch, lines = self._take_batch()
            if not batch:
                if self._running:  # their outcome tells whether there is room in the budget
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    continue
                self._fail(self._waiting, budget.exhausted(next(iter(self._waiting.values())).most_usd))
                return
            task = loop.create_task(self._run_batch(batch, lines))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _take_batch(self) -> tuple[dict[str, _Waiting], list[bytes]]:
        """Take what fits into one batch and into the budget; the paths of a batch must be equal."""
        batch: dict[str, _Waiting] = {}
        lines: list[bytes] = []
        size, path, budget = 0, "", self._spending.budget
        for key, waiting in list(self._waiting.items()):
            path = path or chat_format.path_of(waiting.request)
            if chat_format.path_of(waiting.request) != path or len(batch) == MOST_IN_BATCH:
                continue
            body = chat_format.body_of(waiting.request, self._name, self._settings, self._format)
            waiting.form = self._format
            line = chat_format.encode({"custom_id": key, "method": "POST", "url": f"/v1{path}", "body": body})
            if size + len(line) > _MOST_BYTES:
                break
            lengths = len(line), waiting.request.sampling.max_tokens
            waiting.expected = self._spending.expected(*lengths)
            waiting.most_usd = self._spending.usd_of(self._spending.most(*lengths))
            if budget.limited and not budget.try_take(waiting.most_usd):
                continue  # there may be room for cheaper ones
            batch[key] = self._waiting.pop(key)
            lines.append(line)
            size += len(line)
        return batch, lines

    async def _run_batch(self, batch: dict[str, _Waiting], lines: Sequence[bytes]) -> None:
        brought = _Brought()
        try:
            await self._ask_for(batch, lines, brought)
        except Exception as error:  # whatever it is, those who wait must hear of it
            self._fail(batch, self._told(error))
            return
        finally:
            if (budget := self._spending.budget).limited:
                for key, waiting in batch.items():
                    budget.settle(waiting.most_usd, brought.usd.get(key, 0.0))
        for key, waiting in batch.items():
            if waiting.answer.done():
                continue
            if (answer := brought.answers.get(key)) is not None:
                waiting.answer.set_result(answer)
            else:
                failure = brought.errors.get(key, Failure("broken", "no answer in the batch"))
                self._ask_again_or_fail(key, waiting, failure, brought)

    def _ask_again_or_fail(self, key: str, waiting: _Waiting, failure: Failure, brought: _Brought) -> None:
        """Deal with a request that a batch did not answer."""
        kind: type[EndpointError] = EndpointError
        why = ""
        waiting.attempts += 1
        self.stats.retries["batch"] += 1
        if self._learn_format(waiting.form, failure):
            waiting.reformatted += 1
        elif failure.status in (401, 402):
            hint = refusal_hint(failure.status, self._settings.api_key_env)
            why = f"refuses every request ({failure.detail}){hint}"
        elif failure.kind == "rejected" and (brought.answers or chat_format.is_own_refusal(failure)):
            kind, why = RequestRefusedError, f"refuses one request ({failure.detail})"
        elif brought.status == "cancelled":
            why = "a batch was cancelled; what was answered is safe, the same command asks for the rest"
        most = _MOST_REFUSALS if failure.kind == "rejected" else _MOST_ATTEMPTS
        if not why and waiting.attempts - waiting.reformatted >= most:
            why = f"no valid answer in {waiting.attempts} batches ({failure.detail})"
            kind = RequestFailedError if self.stats.answered > 0 else EndpointError
        if why:
            waiting.answer.set_exception(kind(f"{self._service.shown}: {why}"))
            return
        self._waiting[key] = waiting
        self._wake_sender()

    def _learn_format(self, sent: BodyFormat, failure: Failure) -> bool:
        """Whether a refusal asks for another format than was sent; it is kept for all that follows."""
        if (form := sent.adapted(failure, self._settings)) is None:
            return False
        self.stats.left_out |= dict.fromkeys(form.omit - sent.omit)
        self._format = BodyFormat(form.length_field, self._format.omit | form.omit)
        return True

    async def _ask_for(self, batch: dict[str, _Waiting], lines: Sequence[bytes], brought: _Brought) -> None:
        """Submit a batch and wait for its answers; again after a while where the queue was full."""
        path = chat_format.path_of(next(iter(batch.values())).request)
        asked = {
            key: _Asked(w.expected, w.request.sampling.stop if "stop" in w.form.omit else ())
            for key, w in batch.items()
        }
        file = await self._service.upload(lines)
        turn, waited_s, longest_s = 0, 0.0, _QUEUE_WAITS * self._settings.batch_wait_s
        while True:
            tried = sorted((key, w.attempts) for key, w in batch.items())
            marker = content_hash("batch", tried, turn) if turn else content_hash("batch", tried)
            expected_usd = sum(self._spending.usd_of(w.expected) for w in batch.values())
            self._spending.ledger(f"{BATCH_USD}{marker}", expected_usd)
            await self._remember(marker, None, "intended", len(batch))
            batch_id = await self._service.submit(marker, file, path)
            self._journal.count("sent", len(batch))  # on the disk together with the batch
            await self._remember(marker, batch_id, "submitted", len(batch))
            brought.usd = {key: self._spending.usd_of(w.expected) for key, w in batch.items()}
            self.stats.sent += len(batch)
            try:
                return await self._fetch(marker, batch_id, asked, brought)
            except GoneError:
                await self._remember(marker, batch_id, "gone", 0)
                for waiting in batch.values():  # it may be billed all the same
                    self._spending.throw_away(waiting.expected)
                raise
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
        return EndpointError(f"{self._service.shown}: {type(error).__name__}: {error}")

    # ---- fetching ---------------------------------------------------------------------------------

    async def _recover(self, wait: bool = True) -> None:
        """Fetch what earlier sittings submitted and did not live to read; it counts as spent by the run."""
        for batch in self._journal.open_batches():
            if batch.base_url != self._service.shown or batch.model not in (None, self.key_name):
                continue
            marker, sent = batch.marker, 0
            found = batch.batch_id or await self._service.find(marker)
            if found is None:  # the run died before the batch was made
                await self._remember(marker, None, "never made", 0)
                continue
            if batch.state == "intended":
                sent = batch.n_requests
                self._journal.count("sent", sent)
                await self._remember(marker, found, "submitted", 0)
            brought = _Brought()
            try:
                if not wait and (status := (await self._service.look(found))["status"]) not in FINISHED:
                    raise EndpointError(
                        f"{self._service.shown}: batch {found} of {batch.n_requests} requests is {status}: "
                        "continue with --batch (endpoint.batch: true), which waits for its answers, or "
                        "cancel it there; nothing was asked"
                    )
                await self._fetch(marker, found, None, brought)
            except _BatchFailedError:
                pass
            except GoneError as error:
                if batch.asked_as not in (None, self._asked_as):
                    raise EndpointError(
                        f"{error}: it was submitted as {batch.asked_as}, now it is {self._asked_as}"
                    ) from error
                # Nobody can fetch it any more; what it was asked is asked again.
                await self._remember(marker, found, "gone", 0)
            self._spending.budget.count_earlier(sum(brought.usd.values()), sent)

    async def _fetch(
        self, marker: str, batch_id: str, asked: Mapping[str, _Asked] | None, brought: _Brought
    ) -> None:
        """Wait for a batch and make its answers durable; `asked`: None for one of an earlier sitting."""
        for fetch in range(_FETCHES):
            if fetch:
                await asyncio.sleep(self._settings.batch_wait_s)
            batch = await self._finished(batch_id)
            named = [str(batch[name]) for name in ("output_file_id", "error_file_id") if batch.get(name)]
            files = [(await self._service.download(file)).splitlines() for file in named]
            if all(map(_is_whole, files)) and sum(map(len, files)) >= _told_lines(batch):
                break  # else a file was cut, or is not there yet: what is missing would be paid again
        rows = [row for lines in files for line in lines if (row := _line_result(line)) is not None]
        if asked is None:
            untold = any(not reply.billed.told for _, reply in rows)
            asked = await self._asked_earlier(batch) if untold and self._spending.price else {}
            asked = dict.fromkeys((key for key, _ in rows), _Asked(UNTOLD)) | asked
        brought.status, brought.usd = str(batch["status"]), {}
        for key, reply in rows:
            if key in asked:
                self._take_answer(key, reply, asked[key], brought)
        if brought.answers:
            await asyncio.gather(*(self._journal.put(k, a, self._name) for k, a in brought.answers.items()))
        await self._remember(marker, batch_id, brought.status, len(brought.answers))
        if brought.status == "failed" and not brought.answers:
            why = orjson.dumps(batch.get("errors")).decode()[:300]
            raise _BatchFailedError(f"{self._service.shown}: batch {batch_id} failed ({why})")

    async def _finished(self, batch_id: str) -> Mapping[str, object]:
        """Wait until the endpoint is done with a batch; raises EndpointError past `batch_timeout_s`."""
        loop, longest_s = asyncio.get_running_loop(), self._settings.batch_timeout_s
        begun = loop.time()
        try:
            while (batch := await self._service.look(batch_id))["status"] not in FINISHED:
                if loop.time() - begun > longest_s:
                    raise EndpointError(
                        f"{self._service.shown}: batch {batch_id} is still {batch['status']} after "
                        f"{longest_s / 3600:.3g} hours (batch_timeout_s); what was answered is safe, the "
                        "same command waits on, or asks for the rest where the batch was cancelled"
                    )
                if batch["status"] != "validating":  # a queue without room shows then
                    self._worked_on.add(batch_id)
                await asyncio.sleep(self._settings.batch_wait_s)
        finally:
            self._worked_on.discard(batch_id)
        return batch

    async def _asked_earlier(self, batch: Mapping[str, object]) -> dict[str, _Asked]:
        """Return what an earlier sitting asked in a batch, as far as the file it sent can be had."""
        asked: dict[str, _Asked] = {}
        with contextlib.suppress(EndpointError):
            for line in (await self._service.download(str(batch.get("input_file_id")))).splitlines():
                with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
                    body = (row := chat_format.parsed(line))["body"]
                    length = body.get("max_tokens") or body["max_completion_tokens"]
                    asked[row["custom_id"]] = _Asked(self._spending.expected(len(line), int(length)))
        return asked

    def _take_answer(self, key: str, reply: Reply | Failure, asked: _Asked, brought: _Brought) -> None:
        """Count what a line is billed for, and take its answer if it is the first."""
        reply = self._spending.with_tokens(reply, asked.expected)
        self._spending.count(reply.billed)
        usd = self._spending.usd_of(reply.billed)
        brought.usd[key] = brought.usd.get(key, 0.0) + usd
        if isinstance(reply, Failure) or key in brought.answers:
            self._spending.throw_away(reply.billed)
        if isinstance(reply, Failure):
            brought.errors[key] = reply
        elif key not in brought.answers:
            brought.answers[key] = self._spending.completion(
                chat_format.ended_at_stop(reply, asked.stop), self._name
            )

    async def _remember(self, marker: str, batch_id: str | None, state: str, n_requests: int) -> None:
        shown, model = self._service.shown, self.key_name
        await self._journal.record_batch(
            Batch(shown, marker, batch_id, state, n_requests, model, self._asked_as)
        )

    def _fail(self, batch: dict[str, _Waiting], error: EvolcoderError) -> None:
        for waiting in list(batch.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        batch.clear()


def _is_whole(lines: Sequence[bytes]) -> bool:
    """Whether a file of answers has its end."""
    try:
        return not lines or not lines[-1].strip() or chat_format.parsed(lines[-1]) is not None
    except (ValueError, RecursionError):
        return False


def _told_lines(batch: Mapping[str, object]) -> int:
    """Return how many requests of a batch came to an end, as it says; 0 where it does not."""
    counts = batch.get("request_counts")
    numbers = [counts.get(name) for name in ("completed", "failed")] if isinstance(counts, dict) else []
    return sum(n for n in numbers if isinstance(n, int))


def _line_result(line: bytes) -> tuple[str, Reply | Failure] | None:
    """Read one line of a batch's answers: its key, and what came; None for a line that says neither."""
    try:
        row = chat_format.parsed(line)
        key = str(row["custom_id"])
        bytes.fromhex(key)
        response = row.get("response") or {}
        status, body = int(response.get("status_code") or 0), chat_format.encode(response.get("body"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return None  # its caller asks again
    if status in (200, 201):
        return key, chat_format.read_reply(body)
    if status == 0:  # the endpoint did not come to it: the batch expired, or was cancelled
        return key, Failure("server", chat_format.error_message(chat_format.encode(row.get("error"))))
    return key, chat_format.read_failure(status, {}, body)
