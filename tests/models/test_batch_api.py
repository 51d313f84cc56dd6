from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
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
        self.rows: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda row: [row]
        """What stands in the output for a row that belongs there."""
        self.end = ["completed"]
        """How batches end, one after the other; the last for all that follow."""
        self.first_content: Callable[[bytes], web.Response] | None = None
        """Says otherwise what a file holds, once."""
        self.hidden = 0
        """How many listings do not show the batches yet."""
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
                row = {"custom_id": line["custom_id"], "response": response}
                out += [json.dumps(told) for told in self.rows(row)]
            batch["output_file_id"] = f"out-{batch['id']}"
            self.files[batch["output_file_id"]] = "\n".join(out).encode()
            batch["status"] = self.end.pop(0) if len(self.end) > 1 else self.end[0]
            batch["request_counts"] = {"total": len(out), "completed": len(out), "failed": 0}
        return web.json_response(batch)

    async def listing(self, http: web.Request) -> web.Response:
        self.hidden -= 1
        return web.json_response({"data": [] if self.hidden >= 0 else list(self.batches.values())})

    async def content(self, http: web.Request) -> web.Response:
        if (fault := self.fault("content")) is not None:
            return fault
        content, first, self.first_content = self.files[http.match_info["id"]], self.first_content, None
        return web.Response(body=content) if first is None else first(content)


@asynccontextmanager
async def batch_server(chat: Any = None):  # type: ignore[no-untyped-def]
    server = BatchServer()
    app = web.Application()
    if chat is not None:
        app.router.add_post("/v1/chat/completions", functools.partial(chat, server))
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


async def ask(
    path: Path,
    url: str,
    texts: list[str],
    limit: int | None = None,
    max_usd: float | None = None,
    settings: EndpointSettings = SETTINGS,
) -> list[Any]:
    async with Journal(path) as journal:
        model = open_model(
            "openai:m",
            base_url=url,
            journal=journal,
            settings=settings,
            budget=budget_of(journal, max_usd, limit),
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


async def asked_and_killed(path: Path, server: BatchServer, texts: list[str]) -> None:
    """Submit a batch in a sitting that does not live to read it."""
    server.open.clear()
    run = asyncio.create_task(ask(path, server.url, texts))
    await server.made.wait()
    await asyncio.sleep(0.1)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    server.open.set()


@pytest.mark.parametrize("told", [{"prompt_tokens": 1000, "completion_tokens": 1000}, None])
def test_what_an_earlier_sitting_submitted_counts_towards_the_limit(
    tmp_path: Path, told: dict[str, int] | None
) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"choices": [{"message": {"content": "fine"}}], "usage": told}

    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server() as server:
            server.answer = answer
            await asked_and_killed(tmp_path / "j", server, ["a", "b"])
            answers = await ask(tmp_path / "j", server.url, ["a", "b", "c"], max_usd=0.003)
            return answers, server.submitted

    answers, submitted = asyncio.run(main())
    assert [type(answer) for answer in answers] == [Completion, Completion, BudgetExhaustedError]
    assert submitted == ["a", "b"]


def test_rows_that_an_expired_batch_did_not_come_to_are_asked_again(tmp_path: Path) -> None:
    late: list[str] = []

    def rows(row: dict[str, Any]) -> list[dict[str, Any]]:
        if not late:
            late.append(row["custom_id"])
            error = {"code": "batch_expired", "message": "not executed in time"}
            return [{"custom_id": row["custom_id"], "response": None, "error": error}]
        return [row]

    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server() as server:
            server.rows, server.end = rows, ["expired", "completed"]
            return await ask(tmp_path / "j", server.url, ["a", "b"]), server.submitted

    answers, submitted = asyncio.run(main())
    assert [answer.text for answer in answers] == ["re: a", "re: b"]
    assert submitted == ["a", "b", "a"]


def test_an_empty_account_ends_the_run_and_is_no_fault_of_the_row(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["messages"][0]["content"] == "b":
            return 429, {"error": {"message": "no money", "code": "insufficient_quota"}}
        return 200, {"choices": [{"message": {"content": "fine"}}], "usage": {"prompt_tokens": 1}}

    async def main() -> tuple[list[Any], list[Any]]:
        async with batch_server() as server:
            server.answer = answer
            first = await ask(tmp_path / "j", server.url, ["a", "b"])
            server.answer = None
            return first, await ask(tmp_path / "j", server.url, ["a", "b"])

    first, then = asyncio.run(main())
    assert isinstance(first[1], EndpointError)
    assert "no money left" in str(first[1])
    assert [answer.text for answer in then] == ["fine", "re: b"]


def test_every_line_is_billed_and_the_first_answer_counts(tmp_path: Path) -> None:
    strange = {"custom_id": "00" * 32, "response": {"status_code": 200, "body": {}}}

    async def main() -> tuple[list[Any], float]:
        async with batch_server() as server:
            server.rows = lambda row: [row, row, strange]
            answers = await ask(tmp_path / "j", server.url, ["a"])
            async with Journal(tmp_path / "j") as journal:
                return answers, journal.totals().spent_usd

    answers, usd = asyncio.run(main())
    assert answers[0].text == "re: a"
    assert usd == pytest.approx(2 * 10 / 1e6)


def test_a_batch_that_somebody_cancelled_is_not_submitted_again_by_itself(tmp_path: Path) -> None:
    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server() as server:
            server.end, server.rows = ["cancelled"], lambda row: []
            return await ask(tmp_path / "j", server.url, ["a"]), server.submitted

    answers, submitted = asyncio.run(main())
    assert isinstance(answers[0], EndpointError)
    assert "cancelled" in str(answers[0])
    assert submitted == ["a"]


def test_an_upload_that_a_gateway_lost_is_sent_again(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        async with batch_server() as server:
            server.faults["files"] = [html(502)]
            return await ask(tmp_path / "j", server.url, ["a"])

    assert asyncio.run(main())[0].text == "re: a"


def test_a_status_that_nobody_knows_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolcoder.models.endpoint.batch_service._NETWORK_ATTEMPTS", 2)

    async def main() -> list[Any]:
        async with batch_server() as server:
            server.end = ["paused"]
            return await asyncio.wait_for(ask(tmp_path / "j", server.url, ["a", "b"]), 60)

    errors = asyncio.run(main())
    assert all(isinstance(error, EndpointError) and "'paused'" in str(error) for error in errors)


def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolcoder.models.endpoint.batch_service._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("evolcoder.models.endpoint.batch_service._LISTED_AFTER_S", (0.0, 0.01, 0.01))


@pytest.mark.parametrize("state", ["validating", "in_progress", "finalizing", "cancelling"])
def test_a_batch_without_end_is_waited_for_so_long_and_the_next_sitting_goes_on(
    tmp_path: Path, state: str
) -> None:
    impatient = replace(SETTINGS, batch_timeout_s=0.3)

    async def main() -> tuple[list[Any], list[Any], list[str]]:
        async with batch_server() as server:
            server.end = [state]
            first = await asyncio.wait_for(
                ask(tmp_path / "j", server.url, ["a", "b"], settings=impatient), 60
            )
            server.batches["batch_0"]["status"] = "in_progress"
            server.end = ["completed"]
            return first, await ask(tmp_path / "j", server.url, ["a", "b"]), server.submitted

    errors, answers, submitted = asyncio.run(main())
    assert all(isinstance(error, EndpointError) for error in errors)
    assert all(f"batch_0 is still {state}" in str(error) for error in errors)
    assert [answer.text for answer in answers] == ["re: a", "re: b"]
    assert submitted == ["a", "b"]


@pytest.mark.parametrize("what", ["batch", "answers"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_batch_that_is_gone_ends_no_continuation(
    tmp_path: Path, what: str, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch)
    kind = "look" if what == "batch" else "content"

    async def main() -> tuple[list[Any], list[Any], list[str], float]:
        first: list[Any] = []
        async with batch_server() as server:
            if killed:
                await asked_and_killed(tmp_path / "j", server, ["a", "b"])
            server.faults[kind] = [told(404, "no such thing") for _ in range(6)]
            if not killed:
                first = await ask(tmp_path / "j", server.url, ["a", "b"])
            again = await ask(tmp_path / "j", server.url, ["a", "b"])
            async with Journal(tmp_path / "j") as journal:
                return first, again, server.submitted, journal.totals().spent_usd

    first, again, submitted, usd = asyncio.run(main())
    assert all("no such thing" in str(error) for error in first)
    assert [answer.text for answer in again] == ["re: a", "re: b"]
    assert submitted == ["a", "b", "a", "b"]
    assert killed or usd > 2 * 2000 / 1e6  # what nobody can tell any more was set aside


@pytest.mark.parametrize(
    "fault",
    [
        lambda whole: html(),
        lambda whole: web.json_response([]),
        lambda whole: told(404, "not yet"),
        lambda whole: web.Response(body=whole[: len(whole) - 9]),
        lambda whole: web.Response(body=whole.split(b"\n")[0]),
        lambda whole: web.Response(body=b""),
    ],
)
def test_answers_that_come_cut_or_not_at_all_at_first_are_fetched_again_and_paid_once(
    tmp_path: Path, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch)

    async def main() -> tuple[list[Any], list[str], float]:
        async with batch_server() as server:
            server.first_content = fault
            answers = await ask(tmp_path / "j", server.url, ["a", "b"])
            async with Journal(tmp_path / "j") as journal:
                return answers, server.submitted, journal.totals().spent_usd

    answers, submitted, usd = asyncio.run(main())
    assert [answer.text for answer in answers] == ["re: a", "re: b"]
    assert submitted == ["a", "b"]
    assert usd == pytest.approx(2 * 10 / 1e6)


@pytest.mark.parametrize("status", [408, 504])
def test_a_batch_that_is_listed_late_is_not_made_again(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch)

    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server() as server:
            server.faults["batches"], server.hidden = [html(status)], 2
            return await ask(tmp_path / "j", server.url, ["a", "b"]), server.submitted

    answers, submitted = asyncio.run(main())
    assert [answer.text for answer in answers] == ["re: a", "re: b"]
    assert sorted(submitted) == ["a", "b"]


def test_a_batch_waits_as_long_as_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty(monkeypatch)

    async def main() -> tuple[list[Any], float]:
        loop = asyncio.get_running_loop()
        async with batch_server() as server:
            body = {"error": {"message": "slow down"}}
            server.faults["files"] = [web.json_response(body, status=429, headers={"Retry-After": "2"})]
            begun = loop.time()
            return await ask(tmp_path / "j", server.url, ["a"]), loop.time() - begun

    answers, seconds = asyncio.run(main())
    assert answers[0].text == "re: a"
    assert seconds > 2


def test_a_batch_of_which_every_line_is_refused_is_asked_twice_at_most(tmp_path: Path) -> None:
    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server() as server:
            server.answer = lambda _: (404, {"error": {"message": "no such model"}})
            return await ask(tmp_path / "j", server.url, ["a", "b"]), server.submitted

    errors, submitted = asyncio.run(main())
    assert all(type(error) is EndpointError and "no such model" in str(error) for error in errors)
    assert len(submitted) == 4


def test_a_line_that_costs_more_than_is_left_takes_no_other_with_it(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        async with batch_server() as server:
            return await ask(tmp_path / "j", server.url, ["dear " * 10_000, "a"], max_usd=0.004)

    dear, cheap = asyncio.run(main())
    assert isinstance(dear, BudgetExhaustedError)
    assert cheap.text == "re: a"
