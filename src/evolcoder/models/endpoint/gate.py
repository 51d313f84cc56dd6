"""The gate before an endpoint: lets requests through as its `Pacer` and the user's limits allow."""

from __future__ import annotations

import asyncio
from collections import deque

from evolcoder.models.endpoint.rate_limit import Pacer

_MOMENT_S = 0.01
_LEAST_A_MOMENT = 8
"""Requests let through in a moment while the pacer feels its way; more where many are in flight. It slows
nothing down, but a burst is spread, so that its first refusals are back before its last request is sent."""


class Gate:
    """Bounds requests in flight, requests and tokens a second. First come, first served; retries first."""

    def __init__(self, most: int, rpm: float | None, tpm: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        # 1% under the stated limit: clocks differ, and a refusal costs more than it gains.
        self.pacer = Pacer(most, self._loop.time(), None if rpm is None else 0.99 * rpm / 60)
        self._tokens_per_second = None if tpm is None else 0.99 * tpm / 60
        self.in_flight = 0
        self._retries: deque[tuple[asyncio.Future[None], float]] = deque()
        self._fresh: deque[tuple[asyncio.Future[None], float]] = deque()
        self._next_request = 0.0
        self._next_token = 0.0
        self._moment_ends = 0.0
        self._left_in_moment = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait to be let through."""
        return len(self._retries) + len(self._fresh)

    async def enter(self, tokens: float, retry: bool) -> None:
        """Wait for a place; `tokens` is what the request is expected to use. Pair with `leave`."""
        if not self._retries and not self._fresh and self._wait_s() <= 0:
            self._let_in(tokens)
            return
        place: asyncio.Future[None] = self._loop.create_future()
        (self._retries if retry else self._fresh).append((place, tokens))
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        self._admit()

    def correct_tokens(self, expected: float, used: float) -> None:
        """Charge what an answer really used instead of what was expected of it."""
        if self._tokens_per_second is not None:
            self._next_token += (used - expected) / self._tokens_per_second

    def reopen(self) -> None:
        """Look again, after the pacer changed its mind."""
        self._admit()

    def _wait_s(self) -> float:
        """Return how long the next request must wait; infinite where only a leaving one makes room."""
        pacer = self.pacer
        if self.in_flight >= int(pacer.allowed):
            return float("inf")
        now = self._loop.time()
        if now >= self._moment_ends:
            self._moment_ends = now + _MOMENT_S
            share = 16 if pacer.feeling_its_way else 2
            self._left_in_moment = max(_LEAST_A_MOMENT, int(pacer.allowed) // share)
        due = pacer.paused_until
        if self._left_in_moment <= 0:
            due = max(due, self._moment_ends)
        if pacer.rate is not None:
            due = max(due, self._next_request)
        if self._tokens_per_second is not None:
            due = max(due, self._next_token)
        return due - now

    def _let_in(self, tokens: float) -> None:
        self.in_flight += 1
        self._left_in_moment -= 1
        self.pacer.sent()
        rate = self.pacer.rate
        if rate is None and self._tokens_per_second is None:
            return
        now = self._loop.time()
        # What was not used stays usable for 50 ms only: a timer's lateness costs nothing, a pause no burst.
        if rate is not None:
            self._next_request = max(self._next_request, now - 0.05) + 1 / rate
        if self._tokens_per_second is not None:
            self._next_token = max(self._next_token, now - 1.0) + tokens / self._tokens_per_second

    def _admit(self) -> None:
        while self._retries or self._fresh:
            queue = self._retries or self._fresh
            if queue[0][0].done():  # given up
                queue.popleft()
                continue
            wait_s = self._wait_s()
            if wait_s > 0:
                if wait_s != float("inf"):
                    self._wake_in(wait_s)
                return
            place, tokens = queue.popleft()
            self._let_in(tokens)
            place.set_result(None)

    def _wake_in(self, wait_s: float) -> None:
        at = self._loop.time() + wait_s
        if self._timer is not None:
            if self._timer_at <= at + 0.001:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._admit()
