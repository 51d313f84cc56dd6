"""What requests to one model cost: set aside before one is sent, counted after, for budget and journal."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from evolcoder.models.budget import SpendingBudget
from evolcoder.models.endpoint.chat_format import Billed, Failure, Reply
from evolcoder.models.endpoint.pricing import Price
from evolcoder.models.journal.journal import HELD, UNPRICED_WASTE, Journal
from evolcoder.models.journal.totals import UNPRICED_REPLIES
from evolcoder.models.protocol import Completion
from evolcoder.models.stats import RequestStats

_LEARNT_AT_ONCE = 0.05


class SetAside(NamedTuple):
    """US dollars that a request in flight may cost."""

    expected: float = 0.0
    most: float = 0.0


class Spending:
    """The books of one model: what was told or set aside for each request counts as spent."""

    def __init__(
        self,
        price: Price | None,
        budget: SpendingBudget | None,
        journal: Journal | None,
        stats: RequestStats,
    ) -> None:
        self.price = price
        self.budget = budget or SpendingBudget()
        self._journal = journal
        self._stats = stats
        self._answer_tokens: dict[int, float] = {}

    def ledger(self, name: str, n: float) -> None:
        """Add to a count that outlives the process, where there is a journal."""
        if n and self._journal is not None:
            self._journal.count(name, n)

    def answer_tokens(self, length: int, otherwise: float) -> float:
        """Return the tokens that answers limited to `length` usually have; `otherwise` before the first."""
        return self._answer_tokens.get(length, otherwise)

    def learn(self, length: int, used: int) -> None:
        """Learn how many tokens an answer limited to `length` had."""
        before = self._answer_tokens.get(length, float(used))
        self._answer_tokens[length] = before + _LEARNT_AT_ONCE * (used - before)

    def expected(self, n_bytes: int, length: int) -> Billed:
        """Return the tokens that a request of so many bytes is expected to come to."""
        # Before the first answer nothing is known but the most it can be.
        return Billed(n_bytes // 4, int(self.answer_tokens(length, float(length))) + 1, told=False)

    def most(self, n_bytes: int, length: int) -> Billed:
        """Return the tokens that a request comes to at most: of one byte each, and the longest answer."""
        return Billed(n_bytes, max(length, int(self.answer_tokens(length, 0.0))) + 1, told=False)

    def usd_of(self, billed: Billed) -> float:
        """Return what tokens cost, in US dollars; 0 where no price is known."""
        return 0.0 if self.price is None else self.price(billed.prompt_tokens, billed.completion_tokens)

    def with_tokens(self, reply: Reply | Failure, expected: Billed) -> Reply | Failure:
        """Return an answer whose tokens nobody told with those expected, where money counts."""
        if reply.billed.told or self.price is None:
            return reply
        self._stats.estimated += 1
        return replace(reply, billed=expected)

    async def set_aside(self, expected: Billed, most: Billed) -> SetAside:
        """Count a request as sent and, under a limit, set aside the most that it can cost.

        Returns when what it is expected to cost is on the disk, so that also a killed process counts what it
        had in flight. Pair with `settle`. Raises BudgetExhaustedError at a limit, JournalWriteError where
        the disk takes nothing.
        """
        if self._journal is not None:
            await self._journal.writable()
        budget = self.budget
        usd = SetAside(self.usd_of(expected), self.usd_of(most) if budget.limited else 0.0)
        if not budget.limited:  # a later sitting may have a limit
            self.ledger("sent", 1)
            self.ledger(HELD, usd.expected)
            return usd
        await budget.take(usd.most)
        self.ledger("sent", 1)
        self.ledger(HELD, usd.expected)
        try:
            await budget.noted()
        except BaseException:  # it was not sent
            budget.give_back(usd.most)
            self.ledger("sent", -1)
            self.ledger(HELD, -usd.expected)
            raise
        return usd

    def settle(self, set_aside_usd: SetAside, billed: Billed) -> None:
        """Replace what was set aside for one request by what it is billed for."""
        self.ledger(HELD, -set_aside_usd.expected)
        if self.budget.limited:
            self.budget.settle(set_aside_usd.most, self.usd_of(billed))

    def count(self, billed: Billed) -> None:
        """Count tokens as spent in the statistics, and what of it is an estimate."""
        self._stats.prompt_tokens += billed.prompt_tokens
        self._stats.completion_tokens += billed.completion_tokens
        usd = self.usd_of(billed)
        self._stats.usd += usd
        if usd and not billed.told:
            self.budget.estimated_usd += usd
            self.ledger("estimated usd", usd)

    def completion(self, reply: Reply, model: str, seconds: float = 0.0) -> Completion:
        """Count an answer that is kept, and return it with its price."""
        self._stats.answered += 1
        self._stats.truncated += reply.finish_reason == "length"
        tokens = reply.billed.prompt_tokens, reply.billed.completion_tokens
        usd = None if self.price is None else self.usd_of(reply.billed)
        if usd is None:
            self.ledger(f"{UNPRICED_REPLIES}{model}", 1)
        return Completion(
            reply.text, reply.finish_reason, *tokens, usd, seconds, model=model, reasoning=reply.reasoning
        )

    def throw_away(self, billed: Billed) -> None:
        """Note tokens that are paid for, and whose answer is kept nowhere."""
        if tokens := billed.prompt_tokens + billed.completion_tokens:
            self.ledger("wasted tokens", tokens)
            if self.price is None:
                self.ledger(UNPRICED_WASTE, tokens)
            else:
                self.ledger("wasted usd", self.usd_of(billed))
