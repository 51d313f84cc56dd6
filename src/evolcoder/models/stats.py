"""Counts of a run's requests, for the progress views."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any


@dataclass(slots=True)
class RequestStats:
    """Counts of one model's requests since it was opened. Written by the client, read by anyone."""

    sent: int = 0
    """Requests sent, retries and second attempts included."""
    answered: int = 0
    """Requests that got a valid answer."""
    hits: int = 0
    """Requests that the journal answered."""
    retries: Counter[str] = field(default_factory=Counter)
    """Attempts that gave no valid answer, by kind: rate limit, server, timeout, connection, broken, empty,
    refused, truncated."""
    truncated: int = 0
    """Answers taken although cut off at max_tokens."""
    left_out: dict[str, None] = field(default_factory=dict)
    """Sampling fields that an endpoint refused and that are left out since."""
    resumes_at: float = 0.0
    """Until when an endpoint asked to wait, on the clock `time.monotonic`."""
    hedged: int = 0
    """Requests asked a second time because the first was slow."""
    hedges_won: int = 0
    """Of those, how often the second request answered first."""
    prompt_tokens: int = 0
    """Tokens billed, thrown-away answers included."""
    completion_tokens: int = 0
    """Tokens billed, thrown-away answers included."""
    estimated: int = 0
    """Answers whose tokens the endpoint did not count; what was set aside for them counts as spent."""
    usd: float = 0.0
    """Money for all answers that came, kept or thrown away; 0 where no price is known."""
    in_flight: int = 0
    """Requests at the endpoints now."""
    allowed: int = 0
    """Requests that may be in flight now, as found by the endpoints' behaviour."""
    per_second: float | None = None
    """Requests a second that are let through; None: as many as there are."""
    latency: Latencies = field(default_factory=lambda: Latencies())

    @contextmanager
    def counted(self) -> Generator[None, None, None]:
        """Count a request of a model that counts none itself, such as one in this process."""
        self.sent += 1
        self.in_flight += 1
        try:
            yield
            self.answered += 1
        finally:
            self.in_flight -= 1


class Latencies:
    """Latencies in seconds as 200 counts in steps of 10%, from 1 ms to about a day; old ones fade."""

    _STEP = math.log(1.1)

    def __init__(self) -> None:
        self._bins = [0.0] * 200
        self._weight = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one latency."""
        position = int(math.log(max(seconds, 0.001) / 0.001) / self._STEP)
        self._bins[min(position, 199)] += 1.0
        self._weight += 1.0
        self.count += 1
        if self._weight > 2000:  # the last one or two thousand decide
            self._bins = [n / 2 for n in self._bins]
            self._weight /= 2

    def quantile(self, q: float) -> float:
        """Return the latency that the share `q` of requests stays under, in seconds; 0 before the first."""
        if self._weight == 0:
            return 0.0
        position = min(bisect_left(list(accumulate(self._bins)), q * self._weight), len(self._bins) - 1)
        return float(0.001 * 1.1 ** (position + 1))


def stats_of(model: Any) -> RequestStats | None:
    """Return the counts of a model that was opened by `open_model`; None where it counts nothing."""
    found = getattr(model, "stats", None)
    return found if isinstance(found, RequestStats) else None
