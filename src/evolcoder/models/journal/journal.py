"""The journal: every reply of every model, durable before anything acts on it, and never asked for twice.

A reply's key is the content of its request. Replies are written in groups (one SQLite transaction and one
sync of the disk for all that came within some milliseconds); `put` returns when its group is on the disk.
One process writes, any number read. Not kept: the requests themselves, which the run's data already hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from evolcoder.errors import JournalWriteError, RequestRefusedError
from evolcoder.models.journal.database import damaged, lock_for_writing, open_for_reading, open_for_writing
from evolcoder.models.journal.totals import (
    ADD_TO_COUNT,
    BATCH_USD,
    FIND_UNPRICED,
    UNDER_WAY,
    UNPRICED_REPLIES,
    Batch,
    GivenPrices,
    JournalTotals,
    TokenPrice,
    UnpricedReplies,
    open_batches_in,
    totals_of,
    unpriced_elsewhere,
)
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.models.stats import RequestStats, stats_of
from evolcoder.runs import WAIT_FOR_ROOM_S

_INSERT = (
    "INSERT OR IGNORE INTO replies (key, model, text, checksum, finish_reason, prompt_tokens,"
    " completion_tokens, cost_usd, seconds, written_at) VALUES (?,?,?,?,?,?,?,?,?,?)"
)
_FIND = (
    "SELECT model, text, checksum, finish_reason, prompt_tokens, completion_tokens, cost_usd, seconds,"
    " (SELECT text FROM reasoning WHERE reasoning.key = replies.key) FROM replies WHERE key = ?"
)
_REASON = "INSERT OR IGNORE INTO reasoning (key, text) VALUES (?,?)"
_BATCH = (
    "INSERT INTO batches (base_url, marker, batch_id, state, n_requests, written_at) VALUES (?,?,?,?,?,?)"
    " ON CONFLICT (marker) DO UPDATE SET batch_id = excluded.batch_id, state = excluded.state"
)
_FORGET = "DELETE FROM counts WHERE name = ?"
_BATCH_MODEL = "INSERT OR IGNORE INTO batch_models (marker, model, asked_as) VALUES (?,?,?)"

UNPRICED_WASTE = "wasted tokens without a price"
"""Count of the tokens of answers thrown away while no price was known."""
HELD = "held usd"
"""Count of the money set aside for requests in flight; a process that was killed leaves it above 0."""
_LEAST_HELD = 1e-9
"""What sums of money that come to nothing may differ from it by, in US dollars."""

_REFUSED = "request refused"
"""Stands as the finish reason of a request that the endpoint will not take; its text says why."""

_log = logging.getLogger(__name__)


class _Group(NamedTuple):
    """What is written in one transaction."""

    rows: list[tuple[Any, ...]]
    statements: list[tuple[str, tuple[Any, ...]]]
    counts: Counter[str]


class Journal:
    """The journal of a run, open for its one writer. Use it from one event loop at a time.

    Raises JournalError (on opening) for a file that is foreign, damaged, or written by another process.
    """

    def __init__(
        self,
        path: Path | str,
        commit_every_s: float = 0.005,
        retry_for_s: float = WAIT_FOR_ROOM_S,
        retry_every_s: float = 1.0,
    ) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock_for_writing(self.path)
        try:
            self._writer = open_for_writing(self.path)
            self._reader = open_for_reading(self.path)
        except BaseException:
            os.close(self._lock)
            raise
        self._commit_every_s = commit_every_s
        self._retry_for_s, self._retry_every_s = retry_for_s, retry_every_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._rows: list[tuple[Any, ...]] = []
        self._statements: list[tuple[str, tuple[Any, ...]]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._counts: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._committing: asyncio.Future[Any] | None = None
        self._last_commit = 0.0
        self._failing_since: float | None = None
        """When the disk first took nothing, on the loop's clock; None while it takes what it is given."""
        self._failure: JournalWriteError | None = None
        self._closed = False
        self.in_flight: dict[str, asyncio.Future[Completion]] = {}
        """Requests that a model works on now, by key, so that an equal request waits instead of asking."""
        try:
            self._count_what_a_kill_cut_short()
        except BaseException:
            self.close_now()
            raise

    def find(self, key: str) -> Completion | None:
        """Return the durable reply to the request with this key, marked as cached, or None.

        Raises JournalError where the stored reply is damaged, RequestRefusedError where the endpoint refused
        this request for good.
        """
        try:
            row = self._reader.execute(_FIND, (bytes.fromhex(key),)).fetchone()
        except sqlite3.DatabaseError as error:
            raise damaged(self.path, error) from error
        if row is None:
            return None
        model, text, checksum, finish_reason, prompt_tokens, completion_tokens, cost_usd, seconds, why = row
        if zlib.crc32(text) != checksum:
            raise damaged(self.path, ValueError(f"reply {key} differs from its checksum"))
        if finish_reason == _REFUSED:
            raise RequestRefusedError(text.decode("utf-8", "surrogatepass"))
        return Completion(
            text=text.decode("utf-8", "surrogatepass"),
            finish_reason=finish_reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=cost_usd,
            seconds=seconds,
            cached=True,
            model=model,
            reasoning="" if why is None else why.decode("utf-8", "surrogatepass"),
        )

    def put(self, key: str, completion: Completion, model: str = "") -> Awaitable[None]:
        """Take a reply at once and return what completes when it is durable.

        The reply is in the buffer when this call returns, before any await: replies put in one turn of
        the event loop become durable together. Where the disk takes nothing, it is kept and written again for
        a while; raises JournalWriteError (when awaited) where that does not help.
        """
        return self._put(key, completion, completion.finish_reason, model)

    def put_refusal(self, key: str, why: str, model: str) -> Awaitable[None]:
        """Remember that the endpoint refuses a request for good, in its words, as `put` keeps a reply."""
        return self._put(key, Completion(why, "stop", 0, 0, 0.0), _REFUSED, model)

    def _put(self, key: str, completion: Completion, finish_reason: str, model: str) -> Awaitable[None]:
        text = completion.text.encode("utf-8", "surrogatepass")
        if completion.reasoning:
            why = completion.reasoning.encode("utf-8", "surrogatepass")
            self._statements.append((_REASON, (bytes.fromhex(key), why)))
        self._rows.append(
            (
                bytes.fromhex(key),
                completion.model or model,
                text,
                zlib.crc32(text),
                finish_reason,
                completion.prompt_tokens,
                completion.completion_tokens,
                completion.cost_usd,
                completion.seconds,
                time.time(),
            )
        )
        return self._wait_for_commit()

    def count(self, name: str, n: float = 1) -> None:
        """Add to a count that outlives the process; written with the next group, at the latest on closing."""
        self._counts[name] += n  # type: ignore[assignment]

    def record_batch(self, batch: Batch) -> Awaitable[None]:
        """Note how a batch stands, by its marker; what is returned completes when that is durable."""
        if batch.model is not None:
            self._statements.append((_BATCH_MODEL, (batch.marker, batch.model, batch.asked_as)))
        if batch.state not in UNDER_WAY:
            self._statements.append((_FORGET, (f"{BATCH_USD}{batch.marker}",)))
        self._statements.append((_BATCH, (*batch[:5], time.time())))
        return self._wait_for_commit()

    def open_batches(self) -> list[Batch]:
        """Return the batches whose answers are not in the journal yet."""
        return open_batches_in(self._reader)

    def give_prices(self, model: str, price: TokenPrice) -> GivenPrices:
        """Note what replies of a model that have no price come to at this one, and answers thrown away.

        Call it before anything is asked. Raises JournalWriteError where the disk fails.
        """
        try:
            found = self._writer.execute(FIND_UNPRICED, (model,)).fetchall()
            prices = [(price(prompt, answer), id_) for id_, prompt, answer, known in found if known]
            wasted = self._count_of(UNPRICED_WASTE)
            # Nobody kept which of these tokens were a prompt's.
            wasted_usd = max(price(int(wasted), 0), price(0, int(wasted)))
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany("UPDATE replies SET cost_usd = ? WHERE id = ?", prices)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._write_error(error) from error
        if found:
            self.count(f"{UNPRICED_REPLIES}{model}", -self._count_of(f"{UNPRICED_REPLIES}{model}"))
        if wasted:
            self.count(UNPRICED_WASTE, -wasted)
            self.count("wasted usd", wasted_usd)
            self.count("estimated usd", wasted_usd)
        usd = sum(usd for usd, _ in prices)
        return GivenPrices(usd + wasted_usd, wasted_usd, len(found) - len(prices))

    def unpriced_elsewhere(self, models: Collection[str], price: TokenPrice) -> UnpricedReplies:
        """Return what replies of other models than these, from endpoints and without a price, come to at one.

        Their own price may be known later, so nothing is noted.
        """
        return unpriced_elsewhere(self._reader, self.totals().counts, models, price)

    async def counts_kept(self) -> None:
        """Wait until the counts up to now are durable."""
        await self._wait_for_commit()

    async def flushed(self) -> None:
        """Wait until every reply put so far is durable and those who wait for it have been told."""
        if self._pending():
            await self._wait_for_commit()

    def totals(self) -> JournalTotals:
        """Return what is durable in this journal, and the counts up to now."""
        totals = totals_of(self._reader, self.path)
        for name, n in self._counts.items():
            totals.counts[name] = totals.counts.get(name, 0) + n
        return totals

    async def writable(self) -> None:
        """Wait while the disk takes nothing (what is asked then may be lost); raises JournalWriteError."""
        if self._failing_since is not None or self._failure is not None:
            await self._wait_for_commit()

    async def close(self) -> None:
        """Make everything durable, then let the file go. Closing twice is harmless."""
        if self._closed:
            return
        try:
            while self._pending() and self._failing_since is None:
                await self._wait_for_commit()
        finally:
            self.close_now()

    def close_now(self) -> None:
        """Close without an event loop: write what is left, then let the file go.

        Raises JournalWriteError, which says how many replies are lost, where the disk takes nothing.
        """
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=True)
        group = self._take_group()
        try:
            if any(group):
                self._write(group)
                self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._write_error(error, lost=len(group.rows)) from error
        finally:
            self._reader.close()
            self._writer.close()
            os.close(self._lock)

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def _count_what_a_kill_cut_short(self) -> None:
        """Count what an earlier process was killed with in flight as spent: it may be billed."""
        try:
            held_usd = self._count_of(HELD)
        except sqlite3.DatabaseError as error:
            raise damaged(self.path, error) from error
        if held_usd > _LEAST_HELD:
            self.count("wasted usd", held_usd)
            self.count("estimated usd", held_usd)
            self.count(HELD, -held_usd)

    def _count_of(self, name: str) -> float:
        row = self._reader.execute("SELECT value FROM counts WHERE name = ?", (name,)).fetchone()
        return self._counts[name] + (0.0 if row is None else row[0])

    def _wait_for_commit(self) -> asyncio.Future[None]:
        """Return a future that is done when all in the buffer now is durable; see that a commit is due."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if self._failure is not None:
            done.set_exception(self._failure)
            return done
        self._waiting.append(done)
        if self._timer is None and self._committing is None:
            due = self._last_commit + self._commit_every_s - loop.time()
            # Even the first of a group waits a moment, for those that the same turn of the loop brings.
            self._timer = loop.call_later(min(max(due, 0.002), self._commit_every_s), self._commit, loop)
        return done

    def _commit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write the whole buffer as one transaction; the slow part, the sync, in the journal's thread."""
        self._timer = None
        self._last_commit = loop.time()
        waiting, self._waiting = self._waiting, []
        group = self._take_group()
        try:
            # Here, and not in the thread: SQLite's Python binding gives up the interpreter lock at every
            # row, and a busy loop gives it back only 5 ms later each time.
            self._write(group)
        except sqlite3.Error as error:
            self._not_written(loop, group, waiting, error)
            return
        self._committing = loop.run_in_executor(self._thread, self._writer.execute, "COMMIT")
        self._committing.add_done_callback(lambda done: self._committed(loop, group, waiting, done))

    def _committed(
        self,
        loop: asyncio.AbstractEventLoop,
        group: _Group,
        waiting: list[asyncio.Future[None]],
        done: asyncio.Future[Any],
    ) -> None:
        self._committing = None
        error = RuntimeError("cancelled") if done.cancelled() else done.exception()
        if error is not None:
            self._not_written(loop, group, waiting, error)
            return
        if self._failing_since is not None:
            self._failing_since = None
            _log.warning("%s: can be written again; the run goes on", self.path)
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if self._waiting and not self._closed:
            due = max(self._last_commit + self._commit_every_s - loop.time(), 0.0)
            self._timer = loop.call_later(due, self._commit, loop)

    def _pending(self) -> bool:
        return bool(self._rows or self._statements) or self._committing is not None

    def _take_group(self) -> _Group:
        group = _Group(self._rows, self._statements, self._counts)
        self._rows, self._statements, self._counts = [], [], Counter()
        return group

    def _write(self, group: _Group) -> None:
        """Begin a transaction with all that is in a group."""
        self._writer.execute("BEGIN IMMEDIATE")
        for statement, values in group.statements:
            self._writer.execute(statement, values)
        self._writer.executemany(_INSERT, group.rows)
        if group.counts:
            self._writer.executemany(ADD_TO_COUNT, group.counts.items())

    def _not_written(
        self,
        loop: asyncio.AbstractEventLoop,
        group: _Group,
        waiting: list[asyncio.Future[None]],
        error: BaseException,
    ) -> None:
        """Keep what the disk did not take, and see that it is written again; give up after a while."""
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("ROLLBACK")
        self._rows = group.rows + self._rows
        self._statements = group.statements + self._statements
        self._counts = Counter({n: group.counts[n] + self._counts[n] for n in group.counts | self._counts})
        self._waiting = waiting + self._waiting
        now = loop.time()
        if self._failing_since is None:
            self._failing_since = now
            _log.warning(
                "%s: cannot be written (%s). Nothing more is asked; what was asked is waited for and kept in "
                "memory, and written as soon as there is room, for %.0f s",
                *(self.path, error, self._retry_for_s),
            )
        if now - self._failing_since < self._retry_for_s and isinstance(error, sqlite3.Error):
            self._timer = loop.call_later(self._retry_every_s, self._commit, loop)
            return
        self._failure = self._write_error(error)
        for future in self._waiting:
            if not future.done():
                future.set_exception(self._failure)
                future.exception()  # nobody may be waiting any more; that is no defect
        self._waiting = []

    def _write_error(self, error: BaseException, lost: int = 0) -> JournalWriteError:
        told = (
            f"{lost} replies that came are lost (where a limit is set they count as spent); " if lost else ""
        )
        return JournalWriteError(
            f"{self.path}: cannot be written ({error}); {told}replies written before are safe: "
            "make room on the disk, then the same command continues"
        )


class JournaledModel(LanguageModel):
    """A model whose every reply is durable before it is returned, and whose old replies come from there."""

    def __init__(
        self, model: LanguageModel, journal: Journal, collect: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._model, self._journal = model, journal
        self._collect = collect
        """Brings answers that earlier sittings are still owed; awaited before anything is asked."""
        # Its own name, with what it is always asked beside.
        self._key_name = str(getattr(model, "key_name", model.name))
        self.stats = stats_of(model) or RequestStats()
        """Counts of the model behind, and how many requests the journal answered."""

    @property
    def name(self) -> str:
        """Name of the model behind."""
        return self._model.name

    @property
    def inner(self) -> LanguageModel:
        """The model behind."""
        return self._model

    def find(self, request: Request) -> Completion | None:
        """Return the journal's reply to this request; None where it must be asked."""
        return self._journal.find(request.key(self._key_name))

    async def complete(self, request: Request) -> Completion:
        """Return the journal's reply, or ask the model, once for all who ask the same at the same time."""
        key = request.key(self._key_name)
        journal = self._journal
        while True:
            if (found := journal.find(key)) is not None:
                journal.count("hits")
                self.stats.hits += 1
                return found
            asked = journal.in_flight.get(key)
            if asked is None:
                if self._collect is None:
                    return await self._ask(key, request)
                await self._collect()
                self._collect = None
                continue
            try:
                return await asyncio.shield(asked)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not asked.cancelled() or (task is not None and task.cancelling()):
                    raise  # we are cancelled, not only the one who asked

    async def _ask(self, key: str, request: Request) -> Completion:
        asked: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._journal.in_flight[key] = asked
        try:
            await self._journal.writable()
            with contextlib.nullcontext() if stats_of(self._model) else self.stats.counted():
                completion = await self._model.complete(request)
            # No await between the reply and the buffer: a cancelled asker loses no reply that came.
            await self._journal.put(key, completion, self._model.name)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        except BaseException as error:
            if isinstance(error, RequestRefusedError):
                await self._journal.put_refusal(key, str(error), self._model.name)
            asked.set_exception(error)
            asked.exception()  # the error travels with this task too; nobody else may be waiting
            raise
        else:
            asked.set_result(completion)
            return completion
        finally:
            del self._journal.in_flight[key]

    async def close(self) -> None:
        """Close the model behind; the journal stays open."""
        await self._model.close()
