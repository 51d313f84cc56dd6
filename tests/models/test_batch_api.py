from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evolcoder.errors import BudgetExhaustedError, RequestFailedError
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import budget_of, open_model
from evolcoder.models.protocol import Completion, Message, Request

SETTINGS = EndpointSettings(
    batch=True, batch_wait_s=0.05, usd_per_million_input=1.0, usd_per_million_output=1.0
)


class BatchServer:
    """Keeps files and batches; a batch is done when `open` is set."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.made = asyncio.Event()
        self.spoil: set[str] = set()
        self.submitted: list[str] = []
        self.url = ""

    async def upload(self, http: web.Request) -> web.Response:
        form = await http.post()
        assert form["purpose"] == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"].file.read()  # type: ignore[union-attr]
        return web.json_response({"id": name})

    async def create(self, http: web.Request) -> web.Response:
        body = await http.json()
        batch = {"id": f"batch_{len(self.batches)}", "status": "in_progress", **body}
        self.batches[batch["id"]] = batch
        self.made.set()
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        self.submitted += [line["body"]["messages"][0]["content"] for line in lines]
        return web.json_response(batch)

    async def look(self, http: web.Request) -> web.Response:
        batch = self.batches[http.match_info["id"]]
        if self.open.is_set() and batch["status"] != "completed":
            out = []
            for line in map(json.loads, self.files[batch["input_file_id"]].splitlines()):
                text = line["body"]["messages"][0]["content"]
                message = {"message": {"content": None if text in self.spoil else f"re: {text}"}}
                answer = {"choices": [message], "usage": {"prompt_tokens": 5, "completion_tokens": 5}}
                response = {"status_code": 200, "body": answer}
                out.append(json.dumps({"custom_id": line["custom_id"], "response": response}))
            batch["output_file_id"] = f"out-{batch['id']}"
            self.files[batch["output_file_id"]] = "\n".join(out).encode()
            batch["status"] = "completed"
        return web.json_response(batch)

    async def listing(self, http: web.Request) -> web.Response:
        return web.json_response({"data": list(self.batches.values())})

    async def content(self, http: web.Request) -> web.Response:
        return web.Response(body=self.files[http.match_info["id"]])


@asynccontextmanager
async def batch_server():  # type: ignore[no-untyped-def]
    server = BatchServer()
    app = web.Application()
    app.router.add_post("/v1/files", server.upload)
    app.router.add_get("/v1/files/{id}/content", server.content)
    app.router.add_post("/v1/batches", server.create)
    app.router.add_get("/v1/batches", server.listing)
    app.router.add_get("/v1/batches/{id}", server.look)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()


def request(text: str) -> Request:
    return Request((Message("user", text),))


async def ask(path: Path, url: str, texts: list[str], limit: int | None = None) -> list[Any]:
    async with Journal(path) as journal:
        model = open_model(
            "openai:m",
            base_url=url,
            journal=journal,
            settings=SETTINGS,
            budget=budget_of(journal, None, limit),
        )
        try:
            return await asyncio.gather(*(model.complete(request(t)) for t in texts), return_exceptions=True)
        finally:
            await model.close()


def test_what_is_asked_together_goes_as_one_batch(tmp_path: Path) -> None:
    async def main() -> None:
        async with batch_server() as server:
            answers = await ask(tmp_path / "j.sqlite", server.url, ["a", "b", "c"])
            assert [answer.text for answer in answers] == ["re: a", "re: b", "re: c"]
            assert answers[0].cost_usd == pytest.approx(1e-5)
            assert len(server.batches) == 1
            again = await ask(tmp_path / "j.sqlite", server.url, ["a", "b", "c"])
            assert all(answer.cached for answer in again)
            assert len(server.batches) == 1

    asyncio.run(main())


@pytest.mark.parametrize("forget_the_id", [False, True])
def test_a_stopped_run_finds_its_batch_again(tmp_path: Path, forget_the_id: bool) -> None:
    path = tmp_path / "j.sqlite"

    async def main() -> None:
        async with batch_server() as server:
            server.open.clear()
            run = asyncio.create_task(ask(path, server.url, ["a", "b"]))
            await server.made.wait()
            await asyncio.sleep(0.1)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            if forget_the_id:  # as if killed between making the batch and noting its id
                import sqlite3

                with sqlite3.connect(path) as file:
                    file.execute("UPDATE batches SET batch_id = NULL, state = 'intended'")
                file.close()
            server.open.set()
            answers = await ask(path, server.url, ["a", "b", "c"])
            assert [answer.text for answer in answers] == ["re: a", "re: b", "re: c"]
            assert server.submitted == ["a", "b", "c"]

    asyncio.run(main())


def test_a_request_that_every_batch_spoils_fails_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with batch_server() as server:
            server.spoil = {"b"}
            first, second = await ask(tmp_path / "j.sqlite", server.url, ["a", "b"])
            assert isinstance(first, Completion)
            assert isinstance(second, RequestFailedError)
            assert server.submitted == ["a", "b", "b", "b"]

    asyncio.run(main())


def test_a_budget_cuts_the_batch(tmp_path: Path) -> None:
    async def main() -> None:
        async with batch_server() as server:
            answers = await ask(tmp_path / "j.sqlite", server.url, ["a", "b", "c", "d"], limit=3)
            assert [type(answer) for answer in answers] == [Completion] * 3 + [BudgetExhaustedError]

    asyncio.run(main())
