from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evolcoder.errors import BudgetExhaustedError, EndpointError, RequestFailedError
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
        self.faults: dict[str, list[web.Response]] = {}
        """Answers given instead of the right one, by kind of question: files, batches, look."""
        self.answer: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]] | None = None
        """Answers one line of a batch with a status and a body."""
        self.full = 0
        """How many batches find the queue full."""
        self.url = ""

    def fault(self, kind: str) -> web.Response | None:
        return self.faults[kind].pop(0) if self.faults.get(kind) else None

    async def upload(self, http: web.Request) -> web.Response:
        if (fault := self.fault("files")) is not None:
            return fault
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
        if self.full > 0:
            self.full -= 1
            batch |= {"status": "failed", "errors": {"data": [{"code": "token_limit_exceeded"}]}}
        return self.fault("batches") or web.json_response(batch)

    async def look(self, http: web.Request) -> web.Response:
        if (fault := self.fault("look")) is not None:
            return fault
        batch = self.batches[http.match_info["id"]]
        if self.open.is_set() and batch["status"] == "in_progress":
            out = []
            for line in map(json.loads, self.files[batch["input_file_id"]].splitlines()):
                text = line["body"]["messages"][0]["content"]
                message = {"message": {"content": None if text in self.spoil else f"re: {text}"}}
                answer = {"choices": [message], "usage": {"prompt_tokens": 5, "completion_tokens": 5}}
                status = 200
                if self.answer is not None:
                    status, answer = self.answer(line["body"])
                response = {"status_code": status, "body": answer}
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


def html(status: int = 200) -> web.Response:
    return web.Response(text="<html>maintenance</html>", content_type="text/html", status=status)


def told(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (html(), "JSON is expected"),
        (told(200, "file API is off"), "file API is off"),
        (told(404, "Not Found"), "Not Found"),
        (web.json_response({"object": "file"}), "an id is expected"),
        (html(502), "HTTP 502"),
    ],
)
def test_what_stops_a_batch_is_told_to_all_who_wait(tmp_path: Path, fault: Any, words: str) -> None:
    async def main() -> list[Any]:
        async with batch_server() as server:
            server.faults["files"] = [fault]
            return await ask(tmp_path / "j", server.url, ["a", "b"])

    errors = asyncio.run(main())
    assert all(isinstance(error, EndpointError) and words in str(error) for error in errors)


def test_a_poll_that_is_no_json_is_asked_again_and_any_text_can_be_sent(tmp_path: Path) -> None:
    async def main() -> tuple[list[Any], int]:
        async with batch_server() as server:
            server.faults["look"] = [html(), html(503)]
            return await ask(tmp_path / "j", server.url, ["cut \ud83d", "b"]), len(server.batches)

    answers, batches = asyncio.run(main())
    assert [answer.text for answer in answers] == ["re: cut ?", "re: b"]
    assert batches == 1


def test_a_batch_that_was_made_though_the_gateway_timed_out_is_found_and_paid_once(tmp_path: Path) -> None:
    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server() as server:
            server.faults["batches"] = [html(504)]
            return await ask(tmp_path / "j", server.url, ["a", "b"]), server.submitted

    answers, submitted = asyncio.run(main())
    assert [answer.text for answer in answers] == ["re: a", "re: b"]
    assert sorted(submitted) == ["a", "b"]


def test_a_batch_waits_for_room_in_a_full_queue(tmp_path: Path) -> None:
    async def main() -> tuple[list[Any], int, int]:
        async with batch_server() as server:
            server.full = 3
            answers = await ask(tmp_path / "j", server.url, ["a"])
            return answers, len(server.batches), len(server.files)

    answers, batches, files = asyncio.run(main())
    assert answers[0].text == "re: a"
    assert (batches, files) == (4, 1 + 1)  # one file for all tries, and the answers


def test_fields_that_a_model_refuses_are_left_out_in_batches_too(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for name in ("max_tokens", "temperature", "top_p"):
            if name in body:
                instead = "Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                message = f"Unsupported parameter: '{name}' is not supported. {instead}"
                return 400, {"error": {"message": message}}
        return 200, {"choices": [{"message": {"content": "fine"}}], "usage": {"prompt_tokens": 1}}

    async def main() -> list[Any]:
        async with batch_server() as server:
            server.answer = answer
            return await ask(tmp_path / "j", server.url, ["a", "b"])

    assert [answer.text for answer in asyncio.run(main())] == ["fine", "fine"]


def test_answers_of_no_use_are_billed_and_truncated_ones_are_not_asked_again(tmp_path: Path) -> None:
    spoilt = {"message": {"content": None}, "finish_reason": "length"}
    body = {"choices": [spoilt], "usage": {"prompt_tokens": 100, "completion_tokens": 2048}}

    async def main() -> tuple[list[Any], int, float]:
        async with batch_server() as server:
            server.answer = lambda _: (200, body)
            answers = await ask(tmp_path / "j", server.url, ["a", "b"])
            async with Journal(tmp_path / "j") as journal:
                return answers, len(server.submitted), journal.totals().spent_usd

    answers, submitted, usd = asyncio.run(main())
    assert [answer.finish_reason for answer in answers] == ["length", "length"]
    assert submitted == 2
    assert usd == pytest.approx(2 * 2148 / 1e6)
