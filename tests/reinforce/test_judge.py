"""The judge for other trainers: in Python, over HTTP, and in the forms that trainers call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from aiohttp.test_utils import TestClient, TestServer

import evolcoder
from evolcoder.errors import SandboxError, UserError
from evolcoder.reinforce import judge_server
from evolcoder.reinforce.adapters import ExecutionReward
from evolcoder.reinforce.judge_server import JudgeServer
from evolcoder.reinforce.settings import RewardSettings
from evolcoder.sandbox import Sandbox

TESTS = "assert f(2) == 4\nassert f(3) == 9"
RIGHT, WRONG = "def f(n): return n * n", "def f(n): return 2 * n"


def test_programs_are_judged_in_order() -> None:
    verdicts = evolcoder.judge([RIGHT, WRONG, "import os\nos._exit(0)", ""], TESTS, "f")
    assert [v.passed for v in verdicts] == [True, False, False, False]
    assert {v.tier for v in verdicts if v.passed} == {"rpc"}
    checks = ["def check(candidate):\n    assert candidate(2) == 4", {"input": "3\n", "output": "9"}]
    both = evolcoder.judge([RIGHT, "print(int(input()) ** 2)"], checks, "f")
    assert [v.passed for v in both] == [True, True]
    assert evolcoder.judge(RIGHT, "assert f(1) == 1")[0].passed, "the entry point is found in the tests"


def test_tests_that_test_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="tests"):
        evolcoder.judge(RIGHT, "assert True", "f")
    with pytest.raises(UserError, match="2 programs and 1 tests"):
        evolcoder.judge([RIGHT, WRONG], [TESTS], "f")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    errors = tmp_path_factory.mktemp("door") / "stderr"
    command = [sys.executable, "-m", "evolcoder", "judge", "--serve", "--port", "0", "--max-waiting", "300"]
    with errors.open("w") as written:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written, text=True)
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.wait()
    assert "Traceback" not in errors.read_text(), "clients that leave are no error"


def ask(door: dict[str, Any], items: list[dict[str, Any]], token: str | None = None) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {door['token'] if token is None else token}"}
    request = Request(f"{door['url']}/v1/judge", json.dumps({"items": items}).encode(), headers)
    with urlopen(request) as response:
        return [json.loads(line) for line in response]


def items(n: int, offset: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{i}",
            "program": f"def f(n): return n * n + {i % 3} # {i + offset}",
            "tests": TESTS,
            "entry_point": "f",
        }
        for i in range(n)
    ]


def test_the_server_streams_verdicts_to_many_clients_at_once(door: dict[str, Any]) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda k: ask(door, items(30, 1000 * k)), range(8)))
    for told in answers:
        assert {row["id"]: row["passed"] for row in told} == {f"{i}": i % 3 == 0 for i in range(30)}


def test_without_the_token_or_with_nonsense_nothing_is_judged(door: dict[str, Any]) -> None:
    for token, rows, code in (("wrong", items(1), 401), (None, [], 400), (None, [{"program": 1}], 400)):
        with pytest.raises(HTTPError) as refused:
            ask(door, rows, token)
        assert refused.value.code == code


@pytest.mark.parametrize(
    "tests",
    ["assert f(2) == '\ud800'", "assert f(" + "-" * 50_000 + "2)", "assert f(2) == " + "1 + " * 20_000 + "1"],
    ids=["lone surrogate", "nested", "long sum"],
)
def test_tests_that_python_cannot_read_are_refused(tests: str) -> None:
    with pytest.raises(UserError, match="tests"):
        evolcoder.judge(RIGHT, tests, "f")


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000 + b"]" * 100_000, b"\xff", b"", b"null", b'{"items": [null]}', b'{"items": {"a": 1}}'],
    ids=["nested", "no text", "nothing", "null", "no item", "no list"],
)
def test_a_body_that_holds_no_items_is_a_bad_request(door: dict[str, Any], body: bytes) -> None:
    headers = {"Authorization": f"Bearer {door['token']}"}
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(f"{door['url']}/v1/judge", body, headers))
    assert refused.value.code == 400


def test_an_input_that_is_no_text_harms_no_other_program(door: dict[str, Any]) -> None:
    echo = {"program": "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())"}
    odd = [{**echo, "tests": {"input": "\ud800", "output": output}} for output in ("\ud800", "?")]
    told = {row["id"]: row["reason"] for row in ask(door, [*items(3), *odd])}
    assert told == {"0": "passed", "1": "failed", "2": "failed", 3: "passed", 4: "failed"}


def test_a_function_is_found_by_any_way_to_write_its_name(door: dict[str, Any]) -> None:
    for name in ("größe", "gro\u0308ße", "ﬁb", "ｆ"):
        item = {"program": f"def {name}(n): return n", "tests": f"assert {name}(2) == 2"}
        assert [row["passed"] for row in ask(door, [{**item, "entry_point": name}, item])] == [True, True]


def test_beyond_its_queue_it_refuses_the_whole_batch(door: dict[str, Any]) -> None:
    with pytest.raises(HTTPError) as refused:
        ask(door, items(301))
    assert refused.value.code == 503 and refused.value.headers["Retry-After"]
    assert b"301 more are refused" in refused.value.read()
    assert len(ask(door, items(2))) == 2


def test_a_client_that_is_killed_takes_nothing_from_the_others(door: dict[str, Any]) -> None:
    slow = [{"program": f"def f(n):\n    while True: pass # {i}", "tests": TESTS} for i in range(4)]
    body = json.dumps({"items": slow})
    code = (
        "import sys, urllib.request as u\n"
        f"r = u.Request({door['url'] + '/v1/judge'!r}, sys.stdin.buffer.read(), "
        f"{{'Authorization': 'Bearer {door['token']}'}})\n"
        "print('sent', flush=True)\nu.urlopen(r).read()\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(body.encode())
    client.stdin.close()
    client.stdout.readline()
    found: list[list[dict[str, Any]]] = []
    other = threading.Thread(target=lambda: found.append(ask(door, items(20, 50_000))))
    other.start()
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    other.join()
    assert len(found[0]) == 20


def test_where_the_sandbox_fails_every_program_that_waits_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: Sandbox, jobs: Any) -> Iterator[Any]:
        for _ in zip(jobs, range(3), strict=False):
            pass  # taken, and never judged
        raise SandboxError("the machine is gone")
        yield

    monkeypatch.setattr(Sandbox, "run_many", fails)

    async def asked(server: JudgeServer) -> list[dict[str, Any]]:
        async with TestClient(TestServer(server.app())) as client:
            response = await client.post(
                "/v1/judge", json={"items": items(7)}, headers={"Authorization": "Bearer t"}
            )
            lines = [json.loads(line) for line in (await response.text()).splitlines()]
            health = await client.get("/v1/health", headers={"Authorization": "Bearer t"})
            assert (await health.json())["waiting"] == 0
            return lines

    with JudgeServer("t", RewardSettings(), workers=1) as server:
        told = asyncio.run(asked(server))
    assert len(told) == 7
    assert {(row["passed"], row["reason"]) for row in told} == {(False, "infrastructure")}


def test_a_token_that_is_no_text_is_a_wrong_one(door: dict[str, Any]) -> None:
    with pytest.raises(HTTPError) as refused:
        ask(door, items(1), "\xff\xfe")
    assert refused.value.code == 401


def test_while_the_tests_of_one_client_are_read_the_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, read = threading.Event(), threading.Event()
    plain = judge_server.test_of

    def slow(*given: Any, **told: Any) -> Any:
        begun.set()
        assert read.wait(60)
        return plain(*given, **told)

    monkeypatch.setattr(judge_server, "test_of", slow)
    headers = {"Authorization": "Bearer t"}

    async def asked(server: JudgeServer) -> None:
        async with TestClient(TestServer(server.app())) as client:
            judged = asyncio.create_task(client.post("/v1/judge", json={"items": items(1)}, headers=headers))
            await asyncio.to_thread(begun.wait)
            assert (await client.get("/v1/health", headers=headers)).status == 200
            assert not judged.done()
            read.set()
            assert b'"passed": true' in await (await judged).read()
            long = [{"program": RIGHT, "tests": "assert f(2) == 4\n" * 70_000}]
            refused = await client.post("/v1/judge", json={"items": long}, headers=headers)
            assert refused.status == 400 and "at most 1,048,576" in await refused.text()

    with JudgeServer("t", RewardSettings(), workers=1) as server:
        asyncio.run(asked(server))


def test_trainers_call_it_in_their_own_form() -> None:
    text = f"```python\n{RIGHT}\n```"
    chat = [{"role": "assistant", "content": text}]
    told = {"tests": TESTS, "entry_point": "f"}
    with ExecutionReward(workers=1) as reward:
        assert reward(completions=[text, WRONG], tests=[TESTS] * 2, entry_point=["f"] * 2, other=[1, 2]) == [
            1,
            0,
        ]
        assert reward(completions=[chat], tests=[TESTS]) == [1.0]
        assert reward.compute_score("own", text, json.dumps(told)) == 1.0
        assert asyncio.run(reward.verifiers_reward(chat, told, state={})) == 1.0
