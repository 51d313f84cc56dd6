"""Requests of an endpoint's model sent by the machines of a real cluster; the driver keeps the journal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web

from evolcoder.errors import EndpointError
from evolcoder.execution.engine import Engine
from evolcoder.models.cluster import on_cluster
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import open_model
from evolcoder.models.protocol import Message, Request, Sampling

N = 60
BEFORE_IT_DIES = 8


class Served:
    """An endpoint that notes which process asked what."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: Counter[str] = Counter()
        self.askers: Counter[int] = Counter()
        self.keys: set[str] = set()
        self.enough, self.go_on = asyncio.Event(), asyncio.Event()

    async def answer(self, http: web.Request) -> web.Response:
        body = await http.json()
        text = body["messages"][-1]["content"]
        assert http.transport is not None
        ends = [http.transport.get_extra_info(end)[:2] for end in ("peername", "sockname")]
        # Both ends: two connections to different places may leave from the same port.
        pids = {c.pid for c in psutil.net_connections("tcp") if [c.laddr, c.raddr] == ends and c.pid}
        assert len(pids) == 1
        self.askers.update(pids)
        self.asked[text] += 1
        self.keys.add(http.headers.get("Authorization", ""))
        if self.asked.total() == BEFORE_IT_DIES:
            self.enough.set()
        await self.go_on.wait()
        message = {"role": "assistant", "content": f"answer to {text}"}
        usage = {"prompt_tokens": 5, "completion_tokens": 7}
        return web.json_response(
            {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        )


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    found = Served()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


def request(i: int) -> Request:
    return Request((Message("user", f"q{i}"),), Sampling(max_tokens=20))


async def ask_all(
    engine: Engine, folder: Path, server: Served, host: str, meanwhile: Any = None, n: int = N
) -> list[str]:
    settings = EndpointSettings(hedge_share=0.0, concurrency=n)
    async with Journal(folder / "journal.sqlite") as journal:
        model = open_model(f"openai:m@http://{host}:{server.port}/v1", journal=journal, settings=settings)
        try:
            with on_cluster(model, engine):
                async with asyncio.TaskGroup() as group:
                    if meanwhile is not None:
                        group.create_task(meanwhile(server))
                    tasks = [group.create_task(model.complete(request(i))) for i in range(n)]
        finally:
            await model.close()
    return [task.result().text for task in tasks]


ANSWERS = [f"answer to q{i}" for i in range(N)]


def test_every_machine_asks_and_the_drivers_journal_has_the_replies(
    ray_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")

    async def main() -> None:
        async with served() as server:
            server.go_on.set()
            # Every name of this machine but the loopback's is any machine's to ask.
            assert await ask_all(ray_engine, tmp_path, server, "0.0.0.0") == ANSWERS
            assert server.asked == {f"q{i}": 1 for i in range(N)}
            assert len(server.askers) == 3
            assert os.getpid() not in server.askers
            assert server.keys == {"Bearer a-key"}
            assert await ask_all(ray_engine, tmp_path, server, "0.0.0.0") == ANSWERS
            assert server.asked.total() == N  # the second time the journal answered

    asyncio.run(main())


def test_a_machine_that_dies_with_requests_in_hand_costs_those_a_second_asking(
    ray_engine: Engine, tmp_path: Path
) -> None:
    async def kill_one(server: Served) -> None:
        await server.enough.wait()
        victim = next(iter(server.askers))
        os.kill(victim, signal.SIGKILL)
        server.go_on.set()

    async def main() -> None:
        async with served() as server:
            assert await ask_all(ray_engine, tmp_path, server, "0.0.0.0", kill_one) == ANSWERS
            # One of three machines died: of those under way then, its share was asked again, and no other.
            assert max(server.asked.values()) == 2
            assert 1 <= server.asked.total() - N <= N // 2

    asyncio.run(main())


def test_this_machines_own_address_is_asked_from_this_machine(ray_engine: Engine, tmp_path: Path) -> None:
    async def main() -> None:
        async with served() as server:
            server.go_on.set()
            assert await ask_all(ray_engine, tmp_path, server, "127.0.0.1") == ANSWERS
            assert len(server.askers) == 1
            assert os.getpid() not in server.askers

    asyncio.run(main())


def test_an_address_that_no_machine_reaches_is_asked_from_here_and_said_to_be_unreachable(
    ray_engine: Engine, tmp_path: Path
) -> None:
    async def main() -> None:
        async with served() as server:
            pass  # its port is free now
        with pytest.raises(ExceptionGroup) as caught:
            await ask_all(ray_engine, tmp_path, server, "0.0.0.0", n=1)
        assert isinstance(caught.value.exceptions[0], EndpointError)
        assert "cannot be reached" in str(caught.value.exceptions[0])

    asyncio.run(main())
