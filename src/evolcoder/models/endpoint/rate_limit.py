"""The rate limit of one endpoint: how many requests may be in flight, and how many may be sent a second.

`RateLimiter` makes requests wait. `AdaptiveLimits` finds the two limits from how the endpoint answers.
`allowed`, the requests in flight, doubles with each round trip from a small start, stops growing where more
requests only make answers slower, and is halved when the endpoint fails. `rate`, the requests a second, is
unset until refusals (HTTP 429) show a limit; then it follows what was accepted and is raised in small steps.

Some endpoints refuse requests at random, whatever the load, and sending fewer does not help. So a cut of the
rate is a test: if two cuts do not lower the share of refused requests, the refusals do not depend on our
rate. That share is then accepted, and the rate goes back.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass

FIRST_ALLOWED = 32
_WINDOW_S = 0.5
_LEAST_IN_WINDOW = 20
_TOLERATED = 0.05
"""Refused share above the usual one that is no reason to slow down: it keeps a limit fully used."""
_NEAR_LIMIT = (0.85, 1.15)
"""Around the rate where the last refusals began, the rate is felt out in steps of 1%; elsewhere in leaps."""
_RECENT = 32
_MOST_OF_RECENT = 24
_CUTS_BEFORE_BLAMELESS = 2
_TRIMS_BEFORE_BLAMELESS = 8
"""The same for the small steps down near a limit."""
_LOWEST_FIRST_RATE = 5.0
"""A stalled machine may see only refusals for a moment; further cuts find a limit that is lower."""
_HASTY_CUTS = 2
"""Cuts in a row before a window's end; more would follow chance down to a standstill."""
_REST_AT_KNEE_S = 10.0


@dataclass(slots=True)
class _Window:
    """What was sent and came back since a moment."""

    begun: float
    sent: int = 0
    answered: int = 0
    refused: int = 0
    latency_sum: float = 0.0
    full: bool = False
    """Whether someone had to wait for a place."""

    def accepted_per_second(self, now: float, least_s: float) -> float:
        """What was let in, a second; `least_s` is the shortest time such a count says anything about."""
        return max(self.sent - self.refused, 0) / max(now - self.begun, least_s)

    def refused_share(self) -> float:
        """Share of what was sent that was refused. Refusals come back sooner than answers, so a share of
        what came back would be too high whenever sending speeds up."""
        return self.refused / max(self.sent, self.answered + self.refused, 1)


@dataclass(frozen=True, slots=True)
class _Level:
    """What some number in flight gave."""

    allowed: float
    per_second: float
    latency: float


@dataclass(frozen=True, slots=True)
class _Experiment:
    """How things stood before the first of a row of cuts."""

    rate: float | None
    refused_share: float
    per_second: float


class AdaptiveLimits:
    """Sets `allowed` and `rate` from outcomes. Times are in seconds on the caller's clock."""

    def __init__(self, most: int, now: float, most_per_second: float | None = None) -> None:
        self.most = most
        self.most_per_second = most_per_second
        self.allowed: float = min(most, FIRST_ALLOWED)
        self.rate: float | None = most_per_second
        self.paused_until = 0.0
        """Nothing is sent before this moment."""
        self._growing = True
        self._highest = float("inf")
        """Where growing stops until the next look."""
        self._leap = 3.0
        self._window = _Window(now)
        self._level: _Level | None = None
        self._rest_until = 0.0
        self._usual_refused = 0.0
        self._blameless_share = 0.0
        self._accepted = 0.0
        self._cuts = 0
        self._hasty_cuts = 0
        self._trims = 0
        self._experiment = _Experiment(None, 0.0, 0.0)
        self._limit_seen = 0.0
        self._step = 0.01
        self._settled_at = 0.0
        self._broken_bits = 0
        self._latency = 0.2
        self._idle_latency = float("inf")
        """About the shortest latency of late: what an answer takes when nobody queues."""

    @property
    def healthy(self) -> bool:
        """Whether most of the last answers were whole."""
        return self._broken_bits.bit_count() < _RECENT // 2

    @property
    def exploring(self) -> bool:
        """Whether more in flight is being tried, with nothing known yet about limits."""
        return self.rate is None and self.allowed < self.most and self._growing

    def sent(self) -> None:
        """Count a request that was let through."""
        self._window.sent += 1

    def answered(self, now: float, latency: float, full: bool) -> None:
        """Count an answer; `full`: somebody waits for a place."""
        self._remember_broken(0)
        self._latency += 0.05 * (latency - self._latency)
        drifted = self._idle_latency + 0.002 * (latency - self._idle_latency)
        self._idle_latency = latency if latency < self._idle_latency else drifted
        window = self._window
        window.answered += 1
        window.latency_sum += latency
        window.full |= full
        if self._growing and full and self.allowed < min(self.most, self._highest):
            self.allowed += 1.0
        self._look(now)

    def refused(self, now: float, retry_after_s: float | None) -> None:
        """Count a refusal for too many requests."""
        self._remember_broken(0)
        window = self._window
        window.refused += 1
        bounced = window.refused >= _MOST_OF_RECENT and window.refused_share() > self._usual_refused + 0.2
        # Before half a round trip has passed, what was sent earlier weighs much: only a flood counts then.
        told = now >= window.begun + self._latency / 2 or window.refused_share() > 0.7
        if bounced and told and now >= self._settled_at and self._hasty_cuts < _HASTY_CUTS:
            # So much of what was sent bounces that there is no need to wait for the window's end.
            self._hasty_cuts += 1
            self._cut(now, window, hasty=True)
            self.paused_until = max(
                self.paused_until, now + min(max(retry_after_s or 0.0, self._latency / 2), 60.0)
            )
            self._window = _Window(now)
            return
        self._look(now)

    def broke(self, now: float) -> None:
        """Count an answer of HTTP 5xx, a cut or refused connection, or a silence."""
        self._remember_broken(1)
        if self._broken_bits.bit_count() >= _MOST_OF_RECENT and now >= self._rest_until:
            self.allowed = max(1.0, self.allowed / 2)
            self._growing = True
            self._level = None
            self._rest_until = now + self._latency

    def _remember_broken(self, broken: int) -> None:
        self._broken_bits = (self._broken_bits << 1 | broken) & ((1 << _RECENT) - 1)

    def _look(self, now: float) -> None:
        """At a window's end, decide both dials."""
        window = self._window
        if window.begun < self._settled_at <= now:
            self._window = _Window(now)  # it began before the last change had its effect
            return
        elapsed = now - window.begun
        n = window.answered + window.refused
        if elapsed < max(_WINDOW_S, 2 * min(self._latency, self._idle_latency)) or (
            n < _LEAST_IN_WINDOW and elapsed < 5
        ):
            return
        self._window = _Window(now)
        self._set_rate(now, window)
        self._set_allowed(now, window, elapsed)

    def _set_rate(self, now: float, window: _Window) -> None:
        share, usual = window.refused_share(), self._usual_refused
        noise = 1.5 * math.sqrt(max(usual, 0.02) * (1 - usual) / max(window.sent, 1))
        if share > usual + _TOLERATED + noise:
            per_second = window.accepted_per_second(now, _WINDOW_S)
            before = self._experiment
            gaining, self._accepted = per_second > 1.15 * self._accepted, per_second
            if gaining and self._cuts == 0:
                return  # more sent still gives more: no limit here, whatever the refusals say
            if (
                self._cuts >= _CUTS_BEFORE_BLAMELESS
                and share > 0.6 * before.refused_share
                and per_second < 0.95 * before.per_second
            ):
                self._call_blameless(share)
            else:
                self._cut(now, window)
            return
        self._cuts = self._hasty_cuts = 0
        self._accepted = window.accepted_per_second(now, _WINDOW_S)
        self._usual_refused = min(self._blameless_share, usual + 0.1 * (share - usual))
        if self.rate is None:
            return
        if usual < 0.02:
            noise = 0.0  # hardly any refusals but those for our rate: each one tells
        if share > usual + 0.01 + noise:
            self._step = 0.01
            self.rate *= 0.98
            self._trims += 1
            if self._trims >= _TRIMS_BEFORE_BLAMELESS:
                self._call_blameless(share)
        elif window.full and share <= usual + 0.005 + noise:
            self._trims = 0
            low, high = _NEAR_LIMIT
            near = usual < 0.02 and low * self._limit_seen <= self.rate <= high * self._limit_seen
            self._step = 0.01 if near else min(2 * self._step, 0.5)
            self.rate *= 1 + self._step
        if self.most_per_second is not None:
            self.rate = min(self.rate or self.most_per_second, self.most_per_second)

    def _call_blameless(self, share: float) -> None:
        """Put up with this share of refusals from now on, and undo the cuts."""
        self._usual_refused = self._blameless_share = max(share, self._experiment.refused_share)
        self.rate = self.most_per_second
        self._cuts = self._hasty_cuts = self._trims = 0

    def _cut(self, now: float, window: _Window, hasty: bool = False) -> None:
        """Go down to the rate let in; the first time to a quarter: a server's reserve flatters it."""
        per_second = window.accepted_per_second(now, self._latency / 2)
        if self._cuts == 0 and self._hasty_cuts == hasty:
            self._experiment = _Experiment(self.rate, window.refused_share(), per_second)
        self._cuts += not hasty
        # Not further than to a quarter at once: a short window may not tell it well.
        lowest = max(_LOWEST_FIRST_RATE, self._accepted / 4) if self.rate is None else self.rate / 4
        down_to = max(per_second, lowest, 0.02)
        first = hasty and self.rate is None
        self.rate = max(down_to / 4, lowest) if first else down_to
        self._limit_seen = 0.0 if first else down_to
        self._step = 0.125 if first else 0.01
        self._settled_at = now + 1.5 * self._latency

    def _set_allowed(self, now: float, window: _Window, elapsed: float) -> None:
        """Go on growing while more in flight gives more a second."""
        if not window.full or window.answered == 0 or self.rate is not None or now < self._rest_until:
            return
        level = _Level(self.allowed, window.answered / elapsed, window.latency_sum / window.answered)
        before = self._level
        self._level = level
        self._growing = True
        if (
            before is not None
            and level.allowed >= 1.2 * before.allowed
            and level.per_second < 1.05 * before.per_second
            and level.latency > 1.15 * before.latency
        ):
            # The knee: what was added only waits. Go back, and try again later in a smaller step.
            self.allowed = before.allowed
            self._level = None
            self._growing = False
            self._leap = 1.3
            self._rest_until = now + _REST_AT_KNEE_S
        else:
            self._highest = self._leap * self.allowed


_MOMENT_S = 0.01
_LEAST_A_MOMENT = 8
"""Requests let through in 10 ms while the limits are being found; more where many are in flight. Nothing is
slower for it, but a burst is spread, so that its first refusals are back before its last request is sent."""


class RateLimiter:
    """Bounds requests in flight, requests and tokens a second. First come, first served; retries first."""

    def __init__(self, most: int, rpm: float | None, tpm: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        # 1% under the stated limit: clocks differ, and a refusal costs more than it gains.
        self.limits = AdaptiveLimits(most, self._loop.time(), None if rpm is None else 0.99 * rpm / 60)
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

    def _wait_s(self) -> float:
        """Return how long the next request must wait; infinite where only a leaving one makes room."""
        limits = self.limits
        if self.in_flight >= int(limits.allowed):
            return float("inf")
        now = self._loop.time()
        if now >= self._moment_ends:
            self._moment_ends = now + _MOMENT_S
            share = 16 if limits.exploring else 2
            self._left_in_moment = max(_LEAST_A_MOMENT, int(limits.allowed) // share)
        due = limits.paused_until
        if self._left_in_moment <= 0:
            due = max(due, self._moment_ends)
        if limits.rate is not None:
            due = max(due, self._next_request)
        if self._tokens_per_second is not None:
            due = max(due, self._next_token)
        return due - now

    def _let_in(self, tokens: float) -> None:
        self.in_flight += 1
        self._left_in_moment -= 1
        self.limits.sent()
        rate = self.limits.rate
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
