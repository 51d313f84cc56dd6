"""What a journal comes to: replies, tokens and money by model, and the counts its writers kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from evolcoder.models.journal.database import damaged, open_for_reading

TokenPrice = Callable[[int, int], float]
UNPRICED_REPLIES = "replies without a price: "
"""Begins the count of a model's replies from an endpoint while no price was known."""
UNDER_WAY = ("intended", "submitted")
"""States of batches whose answers are not in the journal yet."""
BATCH_USD = "usd of the batch "
"""Begins the count of what such a batch is expected to cost, by its marker."""
ADD_TO_COUNT = (
    "INSERT INTO counts (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)
FIND_UNPRICED = (
    "SELECT id, prompt_tokens, completion_tokens,"
    " prompt_tokens > 0 AND (completion_tokens > 0 OR length(text) = 0)"
    " FROM replies WHERE model = ? AND cost_usd IS NULL"
)
"""The last column: whether the endpoint told the tokens."""


@dataclass(frozen=True, slots=True)
class ModelTotals:
    """What one model's replies in a journal come to."""

    model: str
    replies: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    """None where no reply has a price."""
    unpriced: int
    """Replies without a price."""
    seconds: float
    """Time waited for replies, added up."""


@dataclass(frozen=True, slots=True)
class JournalTotals:
    """What a journal holds."""

    models: tuple[ModelTotals, ...]
    counts: dict[str, float] = field(default_factory=dict)
    """Requests sent, answers taken from the journal ("hits"), retries by kind, wasted tokens and money."""
    bytes: int = 0

    @property
    def replies(self) -> int:
        """Replies in all."""
        return sum(model.replies for model in self.models)

    @property
    def spent_usd(self) -> float:
        """Money for all replies kept, and for answers that were paid and thrown away."""
        kept = sum(model.cost_usd or 0.0 for model in self.models)
        return kept + self.counts.get("wasted usd", 0.0)

    @property
    def requests_sent(self) -> int:
        """Requests sent to endpoints by every run that wrote this journal."""
        return int(self.counts.get("sent", 0))


class Batch(NamedTuple):
    """A batch of requests that is answered later."""

    base_url: str
    marker: str
    batch_id: str | None
    """None until the endpoint told it."""
    state: str
    n_requests: int
    model: str | None = None
    """What its requests are keyed by; None where an older evolcoder did not note it."""
    asked_as: str | None = None
    """Whose account it was submitted on."""


@dataclass(frozen=True, slots=True)
class GivenPrices:
    """What replies that had no price come to."""

    usd: float
    estimated_usd: float
    """How much of it is an estimate."""
    unknown: int
    """Replies that still have none: nobody told their tokens."""


@dataclass(frozen=True, slots=True)
class UnpricedReplies:
    """Replies of models that are not asked now, and what they come to at a price of those that are."""

    models: tuple[str, ...]
    replies: int
    usd: float


def unpriced_elsewhere(
    connection: sqlite3.Connection, counts: Mapping[str, float], models: Collection[str], price: TokenPrice
) -> UnpricedReplies:
    """Return what replies of other models than these, which `counts` knows as an endpoint's, come to."""
    named = [name.removeprefix(UNPRICED_REPLIES) for name in counts if name.startswith(UNPRICED_REPLIES)]
    others = tuple(name for name in named if counts[f"{UNPRICED_REPLIES}{name}"] > 0 and name not in models)
    found = [row for name in others for row in connection.execute(FIND_UNPRICED, (name,))]
    return UnpricedReplies(others, len(found), sum(price(prompt, answer) for _, prompt, answer, _ in found))


def open_batches_in(connection: sqlite3.Connection) -> list[Batch]:
    """Return the batches whose answers are not in an open journal yet."""
    found = connection.execute(
        "SELECT base_url, marker, batch_id, state, n_requests, model, asked_as"
        f" FROM batches LEFT JOIN batch_models USING (marker) WHERE state IN {UNDER_WAY}"
    )
    return [Batch(*row) for row in found]


def read_totals(path: Path) -> JournalTotals:
    """Return what a journal holds, also while a run writes it; raises JournalError where it is none."""
    with closing(open_for_reading(path)) as connection:
        return totals_of(connection, path)


def totals_of(connection: sqlite3.Connection, path: Path) -> JournalTotals:
    """Add up a journal that is open."""
    try:
        models = tuple(
            ModelTotals(*row)
            for row in connection.execute(
                "SELECT model, count(*), sum(prompt_tokens), sum(completion_tokens), sum(cost_usd),"
                " count(*) - count(cost_usd), sum(seconds) FROM replies GROUP BY model ORDER BY model"
            )
        )
        counts = dict(connection.execute("SELECT name, value FROM counts").fetchall())
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error
    files = (path, path.with_name(f"{path.name}-wal"))
    size = sum(file.stat().st_size for file in files if file.exists())
    return JournalTotals(models, counts, size)
