"""How many requests an endpoint bears, at once and a second, found from how it answers.

Two dials. `allowed`, requests in flight: doubles each round trip from a small start, stops where more in
flight only makes answers slower, and is halved when the endpoint breaks. `rate`, requests a second: unset
until refusals (HTTP 429) show a limit, then held at what was let through and raised a little at a time.

Some endpoints refuse at random, whatever the load, and slowing down for those only wastes time. So a cut of
the rate is an experiment: if three cuts leave the refused share where it was, the refusals are not about our
rate; they become the share we put up with, and the rate goes back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_ALLOWED = 32
_WINDOW_S = 0.5
_LEAST_IN_WINDOW = 20
_TOLERATED = 0.04
"""Refused share above the usual one that is no reason to slow down: it keeps a limit fully used."""
_RECENT = 32
_MOST_OF_RECENT = 24
_CUTS_BEFORE_BLAMELESS = 3
_REST_AT_KNEE_S = 10.0


@dataclass(slots=True)
class _Window:
    """Outcomes since a moment."""

    begun: float
    answered: int = 0
    refused: int = 0
    latency_sum: float = 0.0
    full: bool = False
    """Whether someone had to wait for a place."""


@dataclass(frozen=True, slots=True)
class _Level:
    """What some number in flight gave."""

    allowed: float
    per_second: float
    latency: float


class Pacer:
    """Sets `allowed` and `rate` from outcomes. Times are in seconds on the caller's clock."""

    def __init__(self, most: int, now: float, most_per_second: float | None = None) -> None:
        self.most = most
        self.most_per_second = most_per_second
        self.allowed: float = min(most, FIRST_ALLOWED)
        self.rate: float | None = most_per_second
        self.paused_until = 0.0
        """Nothing is sent before this moment."""
        self._growing = True
        self._window = _Window(now)
        self._level: _Level | None = None
        self._rest_until = 0.0
        self._usual_refused = 0.0
        self._cuts = 0
        self._before_cuts: tuple[float | None, float, float] = (None, 0.0, 0.0)
        self._quiet_windows = 0
        self._settled_at = 0.0
        self._refused_bits = 0
        self._broken_bits = 0
        self._latency = 0.2

    @property
    def healthy(self) -> bool:
        """Whether most of the last answers were whole."""
        return self._broken_bits.bit_count() < _RECENT // 2

    def answered(self, now: float, latency: float, full: bool) -> None:
        """Count an answer; `full`: somebody waits for a place."""
        self._remember(refused=0, broken=0)
        self._latency += 0.05 * (latency - self._latency)
        window = self._window
        window.answered += 1
        window.latency_sum += latency
        window.full |= full
        if self._growing and full and self.allowed < self.most:
            self.allowed += 1.0
        self._look(now)

    def refused(self, now: float, retry_after_s: float | None) -> None:
        """Count a refusal for too many requests."""
        self._remember(refused=1, broken=0)
        self._window.refused += 1
        if self._refused_bits.bit_count() >= _MOST_OF_RECENT and now >= self._settled_at:
            # Nearly everything bounces: no need to wait for the window's end.
            window, elapsed = self._window, now - self._window.begun
            if elapsed > 0.05:
                self._cut(now, window.answered / elapsed, window.refused / (window.answered + window.refused))
            self.paused_until = max(self.paused_until, now + min(retry_after_s or 0.05, 60.0))
            self._window = _Window(now)
            return
        self._look(now)

    def broke(self, now: float) -> None:
        """Count an answer of HTTP 5xx, a cut or refused connection, or a silence."""
        self._remember(refused=0, broken=1)
        if self._broken_bits.bit_count() >= _MOST_OF_RECENT and now >= self._rest_until:
            self.allowed = max(1.0, self.allowed / 2)
            self._growing = True
            self._level = None
            self._rest_until = now + self._latency

    def _remember(self, refused: int, broken: int) -> None:
        mask = (1 << _RECENT) - 1
        self._refused_bits = (self._refused_bits << 1 | refused) & mask
        self._broken_bits = (self._broken_bits << 1 | broken) & mask

    def _look(self, now: float) -> None:
        """At a window's end, decide both dials."""
        window = self._window
        elapsed = now - window.begun
        n = window.answered + window.refused
        if elapsed < max(_WINDOW_S, 2 * self._latency) or (n < _LEAST_IN_WINDOW and elapsed < 5):
            return
        self._window = _Window(now)
        if window.begun < self._settled_at - 1e-9:
            return  # it began before the last change had its effect
        self._set_rate(now, window, elapsed)
        self._set_allowed(now, window, elapsed)

    def _set_rate(self, now: float, window: _Window, elapsed: float) -> None:
        n = window.answered + window.refused
        share = window.refused / n
        usual = self._usual_refused
        noise = 1.5 * math.sqrt(max(usual, 0.02) * (1 - usual) / n)
        if share > usual + _TOLERATED + noise:
            self._quiet_windows = 0
            per_second = window.answered / elapsed
            _, first_share, first_per_second = self._before_cuts
            if (
                self._cuts >= _CUTS_BEFORE_BLAMELESS
                and share > 0.6 * first_share
                and per_second < 0.95 * first_per_second
            ):
                self._usual_refused = share
                self.rate = self._before_cuts[0]
                self._cuts = 0
            else:
                self._cut(now, per_second, share)
            return
        self._cuts = 0
        self._usual_refused = min(usual, 0.8 * usual + 0.2 * share)
        if self.rate is None or not window.full:
            return
        self._quiet_windows = self._quiet_windows + 1 if window.refused == 0 else 0
        step = 1.005 if share > usual + 0.01 else 1.02
        if self._quiet_windows > 12:
            step = 1.1  # long below the limit: it may have been lifted
        self.rate *= step
        if self.most_per_second is not None:
            self.rate = min(self.rate, self.most_per_second)

    def _cut(self, now: float, per_second: float, share: float) -> None:
        if self._cuts == 0:
            self._before_cuts = (self.rate, share, per_second)
        self._cuts += 1
        lowest = 0.5 if self.rate is None else self.rate / 4
        self.rate = max(per_second, lowest, 0.05)
        self._settled_at = now + 1.5 * self._latency

    def _set_allowed(self, now: float, window: _Window, elapsed: float) -> None:
        """Go on growing while more in flight gives more a second."""
        if not window.full or window.answered == 0 or now < self._rest_until or self.rate is not None:
            return
        level = _Level(self.allowed, window.answered / elapsed, window.latency_sum / window.answered)
        before = self._level
        if before is None or level.allowed >= 1.25 * before.allowed:
            self._level = level
            if (
                before is not None
                and level.per_second < 1.05 * before.per_second
                and level.latency > 1.5 * before.latency
            ):
                # The knee: what was added only waits. Go back, and try again later.
                self.allowed = before.allowed
                self._growing = False
                self._level = None
                self._rest_until = now + _REST_AT_KNEE_S
                return
        self._growing = True
