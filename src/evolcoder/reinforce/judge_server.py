"""An HTTP server that judges batches of programs for other trainers, and streams the verdicts.

POST /v1/judge takes {"items": [{"id", "program", "tests", "entry_point"}, ...]} and answers one JSON object a
line, as verdicts come: {"id", "passed", "reason", "detail", "tier", "cpu_s"}. Beyond its queue it answers 503
at once. GET /v1/health says how many programs wait. Every request carries the token, as
"Authorization: Bearer TOKEN".
"""

from __future__ import annotations

import asyncio
import hmac
import json
import queue
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from aiohttp import web

from evolcoder.errors import UserError
from evolcoder.records import Verdict
from evolcoder.reinforce.judge import test_of
from evolcoder.reinforce.reward import Rewarder
from evolcoder.reinforce.settings import RewardSettings
from evolcoder.reinforce.task_tests import Test
from evolcoder.sandbox.protocol import Job, Outcome
from evolcoder.sandbox.sandbox import Sandbox

MOST_BODY_BYTES = 64 << 20
_LONGEST_TESTS = 1 << 20
_LINES = "application/x-ndjson"
_MOMENT_S = 0.02
"""Verdicts of one request that come within it are sent together."""


@dataclass(slots=True)
class _Batch:
    """The programs of one request."""

    loop: asyncio.AbstractEventLoop
    gone: bool = False
    """True once its client is away: what has not begun is left out."""
    _verdicts: deque[tuple[Any, Verdict]] = field(default_factory=deque)
    _there: asyncio.Event = field(default_factory=asyncio.Event)
    _told: bool = False
    """Whether the event loop knows that there is something to take: waking it is dear."""

    def put(self, id_: Any, verdict: Verdict) -> None:
        """Take a verdict from the thread that judges."""
        self._verdicts.append((id_, verdict))
        if not self._told:
            self._told = True
            self.loop.call_soon_threadsafe(self._there.set)

    async def next(self, most: int) -> list[tuple[Any, Verdict]]:
        """Wait for verdicts and return those of a moment, `most` at most."""
        await self._there.wait()
        if len(self._verdicts) < most:
            await asyncio.sleep(_MOMENT_S)
        self._there.clear()
        self._told = False  # before they are taken, so that one that comes meanwhile wakes the loop again
        return [self._verdicts.popleft() for _ in range(len(self._verdicts))]


@dataclass(frozen=True, slots=True)
class _Item:
    batch: _Batch
    id: Any
    program: str
    test: Test


class JudgeServer(AbstractContextManager["JudgeServer"]):
    """A sandbox behind HTTP; a context manager. `most_waiting` programs wait at most."""

    def __init__(
        self,
        token: str,
        settings: RewardSettings,
        *,
        workers: int | None = None,
        most_waiting: int = 20_000,
        trusted_tests: bool = False,
    ) -> None:
        self._token = token
        self._trusted = trusted_tests
        self._most_waiting = most_waiting
        self._sandbox = Sandbox(workers)
        self.workers = self._sandbox.workers
        self.level = self._sandbox.level
        self._rewarder = Rewarder(self._sandbox, settings, 1)
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        # A thread for each worker: while one waits for a slow program, the others go on.
        self._threads = [
            threading.Thread(target=self._work, name=f"judge-{i}", daemon=True) for i in range(self.workers)
        ]
        for thread in self._threads:
            thread.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and the sandbox."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._sandbox.close()

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=MOST_BODY_BYTES)
        app.router.add_post("/v1/judge", self._judge)
        app.router.add_get("/v1/health", self._health)
        return app

    def _check_token(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        # Bytes that are no text come as surrogates.
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode()):
            raise web.HTTPUnauthorized(text="Authorization: Bearer TOKEN is expected\n")

    async def _health(self, request: web.Request) -> web.Response:
        self._check_token(request)
        return web.json_response({"workers": self.workers, "level": self.level, "waiting": self._waiting})

    async def _judge(self, request: web.Request) -> web.StreamResponse:
        self._check_token(request)
        batch = _Batch(asyncio.get_running_loop())
        # In a thread: reading many tests takes seconds, in which other clients are answered.
        items = await asyncio.to_thread(self._items, await request.read(), batch)
        with self._lock:
            room = self._most_waiting - self._waiting
            if len(items) <= room:
                self._waiting += len(items)
        if len(items) > room:
            raise web.HTTPServiceUnavailable(
                text=f"{self._waiting} programs wait, at most {self._most_waiting} may: "
                f"{len(items)} more are refused; try again later\n",
                headers={"Retry-After": "1"},
            )
        for item in items:
            self._queue.put(item)
        response = web.StreamResponse(headers={"Content-Type": _LINES})
        try:
            await response.prepare(request)
            left = len(items)
            while left:
                if told := await batch.next(left):
                    left -= len(told)
                    await response.write(b"".join(_line(id_, verdict) for id_, verdict in told))
            await response.write_eof()
        except ConnectionError:
            pass  # the client is away: nobody is left to tell
        finally:
            batch.gone = True
        return response

    def _items(self, text: bytes, batch: _Batch) -> list[_Item]:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise web.HTTPBadRequest(text=f"JSON is expected ({error})\n") from error
        rows = body.get("items") if isinstance(body, Mapping) else None
        if not isinstance(rows, list) or not rows:
            raise web.HTTPBadRequest(text='{"items": [{"program", "tests", ...}]} is expected\n')
        items = []
        code_tests = cache(partial(test_of, trusted=self._trusted))  # programs of a group share their tests
        for number, row in enumerate(rows):
            try:
                if not isinstance(row, Mapping) or not isinstance(row.get("program"), str):
                    raise UserError("an object with a program is expected")
                tests = row.get("tests")
                if not isinstance(tests, (str, Mapping)):
                    raise UserError("tests: code, or an object with input and output, is expected")
                if (n := len(tests)) > _LONGEST_TESTS:
                    raise UserError(f"tests of {n:,} characters, at most {_LONGEST_TESTS:,} expected")
                made = code_tests if isinstance(tests, str) else test_of
                test = made(tests, str(row.get("entry_point") or ""))
            except UserError as error:
                raise web.HTTPBadRequest(text=f"item {number}: {error}\n") from error
            items.append(_Item(batch, row.get("id", number), row["program"], test))
        return items

    def _work(self) -> None:
        """Judge what waits, as long as the server is open."""
        while (first := self._queue.get()) is not None:
            begun: dict[int, _Item] = {id(first): first}
            try:
                self._judge_from(first, begun)
            except Exception as error:
                # The sandbox failed: whoever waits for one of its programs must hear of it.
                for item in begun.values():
                    self._done(item, Verdict(False, "infrastructure", str(error)[:300]))

    def _judge_from(self, first: _Item, begun: dict[int, _Item]) -> None:
        """Judge `first` and what comes while a worker is free; `begun` holds what has no verdict yet."""
        rewarder = self._rewarder

        def jobs() -> Iterator[tuple[tuple[_Item, str], Job]]:
            item: _Item | None = first
            while item is not None:
                begun[id(item)] = item
                program, test = item.program, item.test
                if item.batch.gone:
                    self._done(begun.pop(id(item)), None)
                elif verdict := rewarder.known(key := rewarder.key(program, test)) or test.at_once(program):
                    self._done(begun.pop(id(item)), verdict)
                else:
                    yield (item, key), rewarder.job(program, test)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    return
                if item is None:
                    self._queue.put(None)  # the end is for every thread

        outcome: Outcome
        for (item, key), outcome in self._sandbox.run_many(jobs()):
            verdict = rewarder.learn(key, item.test, outcome)
            self._done(begun.pop(id(item)), verdict)

    def _done(self, item: _Item, verdict: Verdict | None) -> None:
        with self._lock:
            self._waiting -= 1
        if verdict is not None:
            item.batch.put(item.id, verdict)


def _line(id_: Any, verdict: Verdict) -> bytes:
    told = {name: getattr(verdict, name) for name in ("passed", "reason", "detail", "tier", "level")}
    return json.dumps({"id": id_, **told, "cpu_s": round(verdict.cpu_s, 4)}).encode() + b"\n"
