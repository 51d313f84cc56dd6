"""A model behind one or several OpenAI-compatible addresses: limits, retries, hedging, failover.

A request picks an address, waits for its rate limit, reserves its cost in the budget, is sent, and is read.
A failed request is retried, depending on the kind of failure: after HTTP 429 it waits as long as the endpoint
says; after a server error it waits longer each time; an address that cannot be reached is left to the
others. Every request ends with a completion or an error.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from evolcoder.errors import EndpointError, RequestFailedError, RequestRefusedError
from evolcoder.models.budget import SpendingBudget
from evolcoder.models.endpoint import chat_format
from evolcoder.models.endpoint.address import Endpoint, connection_to, open_session, refusal_hint
from evolcoder.models.endpoint.chat_format import Billed, BodyFormat, Failure, Reply
from evolcoder.models.endpoint.hedging import Flight, Watch
from evolcoder.models.endpoint.pricing import Price
from evolcoder.models.endpoint.rate_limit import RateLimiter
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.endpoint.spending import Spending
from evolcoder.models.endpoint.stream import BrokenStreamError, NoStreamError, follow
from evolcoder.models.endpoint.unowned import UnownedFlights
from evolcoder.models.journal.journal import Journal
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.models.stats import RequestStats
from evolcoder.models.streaming import StreamPart

_START_ATTEMPTS = 4
"""Connections tried to an address that never answered, over about 1.5 s, before it is called unreachable."""
_LONGEST_TOLD_WAIT_S = 900.0
_OVERTAKEN, _FEW = 3, 4
"""A request that failed so often while others were answered, or once where only so few are left, is itself
what an address does not answer."""
_REFUSED_AT_FIRST, _REFUSED_LATER = 3, 20
"""Different requests refused with none answered before an address is taken to refuse every request; of one
that answered before, so many in a row: a key that was revoked must not cost each row that is left."""
_UNREADABLE_ATTEMPTS = 2
"""Whole answers of no use to one request before an address that never gave one of use is left."""


@dataclass(slots=True)
class _Try:
    """How far one request has come."""

    request: Request
    form: BodyFormat
    failures: Counter[str] = field(default_factory=Counter)
    since: float = 0.0
    """When it was asked first, or its last attempt failed, on the loop's clock."""
    overtaken: int = 0
    """Failures since which others were answered."""
    avoid: Endpoint | None = None

    @property
    def attempts(self) -> int:
        """Attempts that failed; refusals for too many requests are not the request's own."""
        return sum(n for kind, n in self.failures.items() if kind != "rate limit")


class HttpModel(LanguageModel):
    """A `LanguageModel` behind OpenAI-compatible addresses that serve the same weights.

    Construct it anywhere; it binds to the event loop of its first request. Raises ModelError for an address
    that is none and a vendor's missing key.
    """

    def __init__(
        self,
        name: str,
        base_urls: Sequence[str],
        settings: EndpointSettings | None = None,
        *,
        weights: Sequence[float] = (),
        price: Price | None = None,
        budget: SpendingBudget | None = None,
        journal: Journal | None = None,
        stats: RequestStats | None = None,
    ) -> None:
        self._name = name
        self._settings = settings or EndpointSettings()
        self._connections = [connection_to(url, self._settings) for url in base_urls]
        self._weights = list(weights) or [1.0] * len(self._connections)
        self._format = chat_format.first_format(self._settings)
        self._endpoints: list[Endpoint] = []
        self._watch: Watch | None = None
        self._open_requests = self._refused_now = 0
        self._journal = journal
        self._unowned = UnownedFlights(self._endpoints, self._settings.timeout_s)
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

    async def complete(self, request: Request) -> Completion:
        """Answer one request; raises RequestFailedError too, where this one alone gets no answer."""
        if self._watch is None:
            self._open()
        self._open_requests += 1
        try:
            return await self._answer(_Try(request, self._format))
        finally:
            self._open_requests -= 1

    async def _answer(self, state: _Try) -> Completion:
        """Ask until there is an answer; raises what `complete` raises."""
        loop, request = asyncio.get_running_loop(), state.request
        begun = state.since = loop.time()
        while True:
            outcome, endpoint = await self._ask(state)
            if outcome is None:
                continue  # its address was left before it was sent
            if isinstance(outcome, Reply) and "stop" in state.form.omit:
                outcome = chat_format.ended_at_stop(outcome, request.sampling.stop)
            if isinstance(outcome, Reply) and not self._ask_again(state, outcome):
                return self._spending.completion(outcome, self._name, loop.time() - begun)
            if isinstance(outcome, Reply):
                assert outcome.doubt is not None
                self._count_retry(outcome.doubt)
                self._spending.throw_away(outcome.billed)
                continue
            self._count_retry(outcome.kind)
            self._spending.throw_away(outcome.billed)
            state.failures[outcome.kind] += 1
            state.overtaken += state.since < (endpoint.last_whole_answer or 0.0)
            state.since = loop.time()
            wait_s = await self._wait_after(state, outcome, endpoint)
            if wait_s > 0:
                await asyncio.sleep(wait_s)

    async def stream(self, request: Request) -> AsyncGenerator[StreamPart, None]:
        """Yield the answer as it is written, for a person who reads along; closing it ends the connection.

        Sent at once: no rate limit, not counted by a budget. An endpoint that cannot stream is asked for the
        whole answer. Raises what `complete` raises, and EndpointError where an answer breaks off.
        """
        if self._watch is None:
            self._open()
        begun = asyncio.get_running_loop().time()
        endpoint = self._pick(None)
        body = chat_format.body_of(request, self._name, self._settings, self._format) | {"stream": True}
        reply: Reply | None = None
        try:
            async with aclosing(
                follow(
                    endpoint, chat_format.path_of(request), chat_format.encode(body), self._settings.timeout_s
                )
            ) as parts:
                async for part in parts:
                    if isinstance(part, Reply):
                        reply = part
                    else:
                        yield StreamPart(part)
        except BrokenStreamError as error:
            raise EndpointError(f"{endpoint.shown}: the answer broke off ({error})") from error
        except NoStreamError:
            completion = await self.complete(request)
        else:
            assert reply is not None
            seconds = asyncio.get_running_loop().time() - begun
            completion = self._spending.completion(reply, self._name, seconds)
        yield StreamPart(completion.text, completion)

    async def close(self) -> None:
        """Close all connections, once answers in flight that nobody waits for are in the journal."""
        try:
            await self._unowned.wait()
        finally:
            self._unowned.cancel()
            if self._watch is not None:
                self._watch.close()
            for endpoint in self._endpoints:
                await endpoint.session.close()

    def _open(self) -> None:
        settings = self._settings
        self._watch = Watch(settings, self._hedge, self._give_up)
        for connection, weight in zip(self._connections, self._weights, strict=True):
            limiter = RateLimiter(settings.concurrency, settings.rpm, settings.tpm)
            self._endpoints.append(Endpoint(connection, open_session(connection, settings), weight, limiter))

    # ---- one attempt -------------------------------------------------------------------------------

    async def _ask(self, state: _Try) -> tuple[Reply | Failure | None, Endpoint]:
        """Send a request, and again where it is slow, and return the first answer, or the last failure.

        None where it was not sent.
        """
        assert self._watch is not None
        request = state.request
        length = request.sampling.max_tokens
        body = chat_format.body_of(request, self._name, self._settings, state.form)
        if state.failures and "seed" in body:
            # A server that honours the seed would give the same empty or broken answer again.
            body["seed"] += 1_000_003 * sum(state.failures.values())
        data = chat_format.encode(body)
        expected = len(data) / 4 + self._spending.answer_tokens(length, min(length, 500))
        endpoint = self._pick(state.avoid)
        done = asyncio.get_running_loop().create_future()
        flight = Flight(endpoint, chat_format.path_of(request), data, length, expected, done)
        self._launch(flight, endpoint, retry=bool(state.failures))
        try:
            outcome: tuple[Reply | Failure | None, Endpoint] = await flight.done
            return outcome
        except asyncio.CancelledError:
            if self._journal is not None:
                self._unowned.add(flight, lambda reply: self._keep(state, reply))
            raise
        finally:
            self._watch.end(flight)
            for task in () if flight in self._unowned else flight.attempts:
                task.cancel()

    def _keep(self, state: _Try, reply: Reply | Failure) -> None:
        """Put an answer that nobody waits for into the journal."""
        if isinstance(reply, Reply) and "stop" in state.form.omit:
            reply = chat_format.ended_at_stop(reply, state.request.sampling.stop)
        if isinstance(reply, Failure) or self._ask_again(state, reply) or self._journal is None:
            self._spending.throw_away(reply.billed)
            return
        seconds = asyncio.get_running_loop().time() - state.since
        completion = self._spending.completion(reply, self._name, seconds)
        self._journal.put(state.request.key(self.key_name), completion, self._name)

    def _launch(self, flight: Flight, endpoint: Endpoint, retry: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._attempt(flight, endpoint, retry))
        flight.attempts[task] = None
        endpoint.assigned += 1
        task.add_done_callback(lambda done: _landed(flight, endpoint, done))

    def _hedge(self, flight: Flight) -> None:
        self.stats.hedged += 1
        others = [e for e in self._endpoints if e.dead is None]
        if others:
            self._launch(flight, self._pick(others[0] if len(others) > 1 else None), retry=True)

    def _give_up(self, flight: Flight) -> None:
        """End a flight past its deadline; its attempts are cancelled by its caller."""
        flight.endpoint.limiter.limits.broke(asyncio.get_running_loop().time())
        if not flight.done.done():
            timeout = Failure("timeout", f"no answer in {self._settings.timeout_s:g} s")
            flight.done.set_result((timeout, flight.endpoint))

    async def _attempt(self, flight: Flight, endpoint: Endpoint, retry: bool) -> None:
        """Wait for the rate limit, send the request once, and settle what it cost."""
        loop, stats, limiter = asyncio.get_running_loop(), self.stats, endpoint.limiter
        me = asyncio.current_task()
        assert me is not None and self._watch is not None
        reply: Reply | Failure | None = None
        await limiter.enter(flight.tokens, retry)
        try:
            if endpoint.dead is not None:
                if len(flight.attempts) == 1 and not flight.done.done():
                    flight.done.set_result((None, endpoint))
                return
            size = len(flight.body), flight.length
            expected = self._spending.expected(*size)
            set_aside_usd = await self._spending.set_aside(expected, self._spending.most(*size))
            begun = loop.time()
            if flight.begun == 0.0:
                self._watch.begin(flight)
            if endpoint.first_sent is None:
                endpoint.first_sent = begun
            stats.sent += 1
            stats.in_flight += 1
            endpoint.in_flight[me] = begun
            try:
                reply = self._spending.with_tokens(await endpoint.send(flight.path, flight.body), expected)
                if isinstance(reply, Reply) or reply.kind != "connection":
                    endpoint.answers += 1
                endpoint.billed |= reply.billed != Billed(0, 0)
            finally:
                stats.in_flight -= 1
                del endpoint.in_flight[me]
                self._settle(flight, endpoint, reply, loop.time() - begun)
                # One cut short may be billed, where money counts; an address that takes none bills none.
                refuses = endpoint.dead is not None and not endpoint.billed
                unknown = Billed(0, 0) if refuses or self._spending.price is None else expected
                billed = unknown if reply is None else reply.billed
                self._spending.count(billed)
                if reply is None:
                    self._spending.throw_away(billed)
                self._spending.settle(set_aside_usd, billed)
        finally:
            limiter.leave()
        if not flight.done.done():
            only = len(flight.attempts) == 1
            if isinstance(reply, Reply) or only:
                if len(flight.attempts) > 1 and me is not next(iter(flight.attempts)):
                    stats.hedges_won += 1
                flight.done.set_result((reply, endpoint))

    def _settle(
        self, flight: Flight, endpoint: Endpoint, reply: Reply | Failure | None, seconds: float
    ) -> None:
        """Report the outcome of one attempt to the rate limit, the hedging and the statistics."""
        assert self._watch is not None
        loop_now = asyncio.get_running_loop().time()
        limits, stats = endpoint.limiter.limits, self.stats
        if isinstance(reply, Failure) and reply.kind != "rejected" and endpoint.failing_since is None:
            endpoint.failing_since = loop_now
        if isinstance(reply, Reply):
            endpoint.last_whole_answer, endpoint.failing_since = loop_now, None
            endpoint.answered_sent = max(endpoint.answered_sent, loop_now - seconds)
            endpoint.refused = 0
            self._watch.took(flight, seconds)
            stats.latency.add(seconds)
            used = reply.billed.completion_tokens
            if reply.billed.told:
                self._spending.learn(flight.length, used)
            endpoint.limiter.correct_tokens(flight.tokens, reply.billed.prompt_tokens + used)
            limits.answered(loop_now, seconds, endpoint.limiter.waiting > 0)
        elif reply is None:
            self._watch.took(flight, seconds)  # cut short: it took at least this long
        elif reply.kind == "rate limit":
            limits.refused(loop_now, reply.retry_after_s)
        elif reply.kind in ("server", "connection", "timeout"):
            limits.broke(loop_now)
        stats.allowed = sum(int(e.limiter.limits.allowed) for e in self._endpoints)
        stats.per_second = limits.rate

    # ---- what to make of an answer ----------------------------------------------------------------

    def _ask_again(self, state: _Try, reply: Reply) -> bool:
        """Whether a doubtful answer is asked for again, rather than taken as it is."""
        if reply.doubt is None:
            return False
        settings = self._settings
        nothing_came = settings.on_empty == "retry" or reply.billed.completion_tokens == 0
        allowed = {
            "empty": settings.empty_retries if nothing_came else 0,
            "refused": settings.refused_retries,
            "truncated": settings.length_retries if settings.on_length == "retry" else 0,
        }[reply.doubt]
        if state.failures[reply.doubt] >= allowed:
            return False
        state.failures[reply.doubt] += 1
        return True

    async def _wait_after(self, state: _Try, failure: Failure, endpoint: Endpoint) -> float:
        """Return the seconds to wait before the next attempt; raises where there shall be none."""
        now = asyncio.get_running_loop().time()
        if failure.kind == "rejected":
            return await self._rejected(state, failure, endpoint)
        if failure.kind == "connection" and endpoint.answers == 0:
            if state.failures["connection"] >= _START_ATTEMPTS:
                why = f"cannot be reached ({failure.detail}); does it run, and is the address right?"
                self._bury(endpoint, why, awaited_s=0.0)
            state.avoid = endpoint
            return float(0.1 * 2 ** min(state.failures["connection"], 3) * random.uniform(0.8, 1.2))
        patience_s = self._settings.patience_s
        if (told := failure.retry_after_s or 0.0) > max(_LONGEST_TOLD_WAIT_S, patience_s):
            self._bury(endpoint, f"asks to wait {told:.0f} s ({failure.detail})")
        if told:
            self.stats.resumes_at = max(self.stats.resumes_at, time.monotonic() + told)
        silent_s, never = endpoint.silent_s(now), endpoint.last_whole_answer is None
        # Past its own deadline a request tells that others hang as well.
        hangs = failure.kind == "timeout" and failure.status == 0
        works = not hangs and endpoint.works_long(now, patience_s)
        failing_s = silent_s if hangs else now - (endpoint.failing_since or now)
        if not works and failing_s > patience_s + told and failure.kind != "broken":
            alone = state.overtaken >= (1 if self._open_requests <= _FEW else _OVERTAKEN)
            if alone and failure.kind in ("server", "rate limit", "timeout"):
                raise RequestFailedError(
                    f"{endpoint.shown}: no valid answer to one request in {sum(state.failures.values())} "
                    f"attempts ({failure.detail}); it answered others meanwhile, finished work is safe"
                )
            why = f"gave no answer for {silent_s:.0f} s ({failure.detail})"
            self._bury(endpoint, why, awaited_s=patience_s)
        if failure.status == 200 and never:
            # It replies, but never with an answer; the next attempt would not bring one either.
            if state.failures[failure.kind] >= _UNREADABLE_ATTEMPTS:
                self._bury(endpoint, f"gives no answer that can be read ({failure.detail})")
        elif state.attempts >= self._settings.max_attempts and never and not works:
            self._bury(endpoint, f"answers no request ({failure.detail})", awaited_s=patience_s)
        most_attempts = self._settings.max_attempts
        billed = failure.kind == "broken" and failure.status == 200  # and whole, and no answer
        if billed:
            most_attempts = min(most_attempts, 1 + self._settings.refused_retries)
        if state.attempts >= most_attempts and not (never and works):
            # A refusal is remembered: a continuation that asked again would be billed again.
            raise (RequestRefusedError if billed else RequestFailedError)(
                f"{endpoint.shown}: no valid answer to one request in {state.attempts} attempts "
                f"(last: {failure.kind}, {failure.detail}); it answers others, finished work is safe"
            )
        state.avoid = endpoint
        if (
            failure.kind == "connection"
            and state.failures["connection"] == 1
            and endpoint.limiter.limits.healthy
        ):
            return 0.0  # most likely a kept connection that the server closed just then
        first, most = (0.05, 1.0) if endpoint.limiter.limits.healthy else (0.5, 30.0)
        n = state.failures[failure.kind]
        wait_s: float = min(first * 2 ** min(n - 1, 10), most) * random.uniform(0.5, 1.0)
        return max(wait_s, told * random.uniform(1.0, 1.1)) if told else wait_s

    async def _rejected(self, state: _Try, failure: Failure, endpoint: Endpoint) -> float:
        """Deal with a request that the endpoint will not take: leave the request, or the address.

        Returns the seconds to wait before the next attempt; raises RequestRefusedError where the refusal is
        this request's own, EndpointError where it is every request's.
        """
        if (form := state.form.adapted(failure, self._settings)) is not None:
            self._learn_format(state, form)
            return 0.0
        hint = refusal_hint(failure.status, self._settings.api_key_env)
        if failure.status in (401, 402, 407) or 300 <= failure.status < 400:
            self._bury(endpoint, f"refuses every request ({failure.detail}){hint}")
            return 0.0
        if not chat_format.is_own_refusal(failure) and await self._refuses_all(endpoint):
            which = "every request" if endpoint.refused > 1 else "the first request"
            self._bury(endpoint, f"refuses {which} ({failure.detail}){hint}")
            return 0.0
        raise RequestRefusedError(f"{endpoint.shown}: refuses one request ({failure.detail})")

    async def _refuses_all(self, endpoint: Endpoint) -> bool:
        """Wait until it shows whether an address that refused a request refuses them all."""
        refused_at = asyncio.get_running_loop().time()
        endpoint.refused += 1
        self._refused_now += 1
        try:
            while True:
                if endpoint.answered_sent > refused_at:
                    return False
                never = endpoint.last_whole_answer is None
                most = _REFUSED_AT_FIRST if never else _REFUSED_LATER
                if endpoint.refused >= most or endpoint.dead is not None:
                    return True
                if self._refused_now >= self._open_requests:
                    return never  # nobody is left who could tell
                await asyncio.sleep(0.02)
        finally:
            self._refused_now -= 1

    def _learn_format(self, state: _Try, form: BodyFormat) -> None:
        """Send this request, and all that follow, as the endpoint asks for it."""
        self.stats.left_out |= dict.fromkeys(form.omit - state.form.omit)
        state.form = form
        self._format = BodyFormat(form.length_field, self._format.omit | form.omit)

    # ---- several addresses ------------------------------------------------------------------------

    def _pick(self, avoid: Endpoint | None) -> Endpoint:
        """Return the living address with the least to do for its weight; `avoid` only if it is the last."""
        living = [endpoint for endpoint in self._endpoints if endpoint.dead is None]
        if not living:
            raise self._nowhere_to_go()
        choice = [endpoint for endpoint in living if endpoint is not avoid] or living
        return min(choice, key=lambda e: (not e.limiter.limits.healthy, (e.assigned + 1) / e.weight))

    def _bury(self, endpoint: Endpoint, why: str, awaited_s: float = math.inf) -> None:
        """Ask this address no more; what is in flight there may still come for so long.

        Raises EndpointError where it was the last.
        """
        if endpoint.dead is None:
            endpoint.dead = why
            endpoint.awaited_until = asyncio.get_running_loop().time() + awaited_s
        if all(e.dead is not None for e in self._endpoints):
            raise self._nowhere_to_go()

    def _nowhere_to_go(self) -> EndpointError:
        reasons = "; ".join(f"{e.shown}: {e.dead}" for e in self._endpoints)
        return EndpointError(f"{reasons} (answers so far are safe; the same command continues)")

    # ---- counting ---------------------------------------------------------------------------------

    def _count_retry(self, kind: str) -> None:
        self.stats.retries[kind] += 1
        self._spending.ledger(f"retry: {kind}", 1)


def _landed(flight: Flight, endpoint: Endpoint, task: asyncio.Task[None]) -> None:
    """Take an attempt that ended off its flight; its error, if any, ends the flight."""
    flight.attempts.pop(task, None)
    endpoint.assigned -= 1
    if task.cancelled():
        return
    error = task.exception()
    if error is not None and not flight.done.done() and not flight.attempts:
        flight.done.set_exception(error)
