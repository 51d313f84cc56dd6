"""Limits on the money and requests that a run may spend, counted over all its sittings.

At a limit no further request is sent; requests in flight are awaited, because they are paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from evolcoder.errors import BudgetExhaustedError, UserError

_LONELY_S = 0.05
"""How long a request without room waits for cheaper ones, which have some, to set out."""


class SpendingBudget:
    """What may be spent in all, what is spent, and what is set aside for requests in flight.

    Raises UserError for a limit that is no amount of money.
    """

    def __init__(self, max_usd: float | None = None, max_requests: int | None = None) -> None:
        if max_usd is not None and not max_usd >= 0:
            raise UserError(f"max_usd must be 0 or more, found {max_usd}")
        self.max_usd = max_usd
        self.max_requests = max_requests
        self.usd = 0.0
        """Spent so far, earlier sittings included."""
        self.requests = 0
        """Sent so far, earlier sittings included."""
        self.estimated_usd = 0.0
        """How much of what is spent nobody told."""
        self.noted: Callable[[], Awaitable[None]] = _at_once
        """Returns when what is set aside stands where a kill does not forget it."""
        self._held_usd = 0.0
        self._in_flight = 0
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.max_usd is not None or self.max_requests is not None

    def count_earlier(self, usd: float, requests: int) -> None:
        """Add what earlier sittings of the run spent."""
        self.usd += usd
        self.requests += requests

    async def take(self, expected_usd: float) -> None:
        """Set aside money for one request, in US dollars, and count it.

        Waits for requests in flight when only their outcome can tell whether there is room. Raises
        BudgetExhaustedError when there is none and nothing is in flight, nor about to be: whoever hears of
        it ends the others, which may be paid for by then.
        """
        alone = False
        while not self._room_for(expected_usd):
            if self._in_flight == 0 and alone:
                raise self.exhausted(expected_usd)
            alone = self._in_flight == 0
            if alone:
                await asyncio.sleep(_LONELY_S)
                continue
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        self._hold(expected_usd)

    def try_take(self, expected_usd: float) -> bool:
        """Set aside money for one request, in US dollars, and count it, if there is room now."""
        if not self._room_for(expected_usd):
            return False
        self._hold(expected_usd)
        return True

    def settle(self, expected_usd: float, usd: float) -> None:
        """Replace what was set aside for one request by what it cost, in US dollars."""
        self._held_usd -= expected_usd
        self.usd += usd
        self._in_flight -= 1
        if self._waiting:
            # Not at once: whoever just got a reply first hands it to the journal.
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                asyncio.get_running_loop().call_soon(_wake, future)

    def give_back(self, expected_usd: float) -> None:
        """Undo what was set aside for a request that was not sent."""
        self.requests -= 1
        self.settle(expected_usd, 0.0)

    def _hold(self, expected_usd: float) -> None:
        self.requests += 1
        self._held_usd += expected_usd
        self._in_flight += 1

    def _room_for(self, expected_usd: float) -> bool:
        if self.max_requests is not None and self.requests >= self.max_requests:
            return False
        return self.max_usd is None or self.usd + self._held_usd + expected_usd <= self.max_usd

    def exhausted(self, next_usd: float = 0.0) -> BudgetExhaustedError:
        """Return the error that says which limit is reached, where the next request may cost `next_usd`."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            reached = f"{self.requests} requests sent, the limit (max_requests) is {self.max_requests}"
        else:
            reached = f"{self.usd:.4f} US dollars spent"
            if self.estimated_usd:
                reached += f" ({self.estimated_usd:.4f} an estimate, for replies without a count of tokens)"
            reached += f", the limit (max_usd) is {self.max_usd}"
            if self.usd < (self.max_usd or 0.0):
                reached += f" and the next request may cost {next_usd:.4f}"
        return BudgetExhaustedError(
            f"{reached}; every answer so far is kept: the same command with a higher limit continues"
        )


async def _at_once() -> None:
    pass


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
