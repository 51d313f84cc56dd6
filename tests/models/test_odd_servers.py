"""Whatever an address does to its answers: what it bills counts, the run ends, nothing is paid for twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from odd_server import ANSWERED, BILL, NEVER, UNTOLD, OddServer, chat, error, http, odd_server

from evolcoder.errors import BudgetExhaustedError, EndpointError, RequestFailedError
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import budget_of, open_model
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request, Sampling

_WATCHDOG_S = 60.0
_AT_ONCE = 4
_USD = 1e-6
"""What a token costs, whichever."""
_MOST_USD = 1000 * _USD
SETTINGS = {"concurrency": _AT_ONCE, "usd_per_million_input": 1.0, "usd_per_million_output": 1.0}


def request(text: str) -> Request:
    return Request((Message("user", text),), Sampling(max_tokens=60))


async def ask(
    journal: Path, url: str, texts: list[str], max_usd: float | None = None, **settings: Any
) -> tuple[list[Any], float]:
    """Ask all at once as a stage does: the first error that ends a run ends the others; also the money."""
    async with Journal(journal) as kept:
        budget = budget_of(kept, max_usd, None)
        chosen = EndpointSettings(**{**SETTINGS, **settings})
        model: LanguageModel = open_model(
            "openai:m", base_url=url, journal=kept, settings=chosen, budget=budget
        )
        tasks = [asyncio.ensure_future(model.complete(request(text))) for text in texts]
        try:
            while not all(task.done() for task in tasks):
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                if any(task.exception() and not _of_one(task.exception()) for task in done):
                    break
                if len(done) == len(tasks):
                    break
                await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await model.close()
    async with Journal(journal) as kept:
        return results, budget_of(kept, 1.0, None).usd


def _of_one(found: BaseException | None) -> bool:
    return isinstance(found, RequestFailedError)


def ended(results: list[Any]) -> list[str]:
    return [str(r) for r in results if isinstance(r, EndpointError | BudgetExhaustedError)]


def sittings(
    tmp_path: Path, mode: Callable[[int], bytes], max_usd: float | None = None, **settings: Any
) -> tuple[OddServer, list[list[Any]], list[float]]:
    """Ask 12 requests in two sittings; returns the server, the results of each, and the money after each."""
    texts = [f"text {i} {'of some length ' * 20}" for i in range(12)]

    async def main() -> tuple[OddServer, list[list[Any]], list[float]]:
        async with odd_server(mode) as server:
            found = []
            for _ in range(2):
                work = ask(tmp_path / "j", server.url, texts, max_usd, **settings)
                found.append(await asyncio.wait_for(work, _WATCHDOG_S))
            return server, [results for results, _ in found], [usd for _, usd in found]

    return asyncio.run(main())


@pytest.mark.parametrize("name", ANSWERED)
def test_an_answer_that_comes_oddly_is_an_answer_and_is_not_asked_again(name: str, tmp_path: Path) -> None:
    server, (first, again), (usd, later) = sittings(tmp_path, ANSWERED[name])
    assert [result.text for result in first] == ["fine"] * 12
    assert all(result.cached for result in again)
    assert set(server.asked.values()) <= {1, 2}
    assert usd == later


@pytest.mark.parametrize("name", ANSWERED)
def test_what_is_billed_exceeds_the_limit_by_no_more_than_was_in_flight(name: str, tmp_path: Path) -> None:
    server, results, _ = sittings(tmp_path, ANSWERED[name], _MOST_USD)
    assert server.billed * _USD <= _MOST_USD + _AT_ONCE * sum(BILL) * _USD
    for sitting in results:
        told = ended(sitting)
        assert told
        assert all("the limit (max_usd) is 0.001" in words for words in told)
        assert all(("estimate" in words) == (name in UNTOLD) for words in told)


_BILLED = dict.fromkeys(
    ("a list of answers", "a promise", "no choices", "choices of nothing", "aborted"), sum(BILL)
)
_BILLED |= {"events": 100, "events with usage": 5100}
_BILLED |= {"packed unasked by br": 100, "packed unasked by zstd": 100}
"""Tokens that a useless reply tells, or, where none can be read, is taken to come to."""


@pytest.mark.parametrize("name", NEVER)
def test_an_address_that_never_answers_ends_each_sitting_in_its_words(name: str, tmp_path: Path) -> None:
    answer, words = NEVER[name]
    server, results, (usd, _) = sittings(tmp_path, lambda n: answer, 1.0)
    for sitting in results:
        assert any(words in told for told in ended(sitting))
    assert max(server.asked.values()) <= 4
    billed = _BILLED.get(name, 0)
    assert usd == 0 if billed == 0 else usd >= billed * _USD


def test_refusals_cost_nothing_though_others_were_under_way(tmp_path: Path) -> None:
    server, results, (usd, _) = sittings(tmp_path, lambda n: error("bad key", 401), _MOST_USD)
    assert usd == 0
    assert all("bad key" in told for sitting in results for told in ended(sitting))
    assert max(server.asked.values()) <= 2


def test_a_request_that_costs_more_than_is_left_takes_no_other_with_it(tmp_path: Path) -> None:
    texts = ["dear " * 10_000, *(f"text {i}" for i in range(3))]

    async def main() -> tuple[OddServer, list[Any], float]:
        async with odd_server(lambda n: http(chat())) as server:
            return server, *await ask(tmp_path / "j", server.url, texts, _MOST_USD)

    server, (dear, *others), usd = asyncio.run(main())
    assert isinstance(dear, BudgetExhaustedError)
    assert [answer.text for answer in others] == ["fine"] * 3
    assert usd * 1e6 == pytest.approx(server.billed) == pytest.approx(450)


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_request_that_is_put_off_for_ever_is_the_rows_once_all_others_are_answered(
    status: int, tmp_path: Path
) -> None:
    texts = ["poor", *(f"text {i}" for i in range(20))]

    async def main() -> list[Any]:
        async with odd_server(lambda n: http(chat())) as server:
            server.refusals["poor"] = error("slow down", status)
            work = ask(tmp_path / "j", server.url, texts, patience_s=1.0)
            return (await asyncio.wait_for(work, _WATCHDOG_S))[0]

    poor, *others = asyncio.run(main())
    assert isinstance(poor, RequestFailedError)
    assert "slow down" in str(poor)
    assert all(isinstance(answer, Completion) for answer in others)


def test_an_address_that_puts_off_everybody_ends_the_run(tmp_path: Path) -> None:
    _, results, _ = sittings(tmp_path, lambda n: error("slow down", 429, Retry_After="nan"), patience_s=0.5)
    assert all(any("gave no answer" in told for told in ended(sitting)) for sitting in results)


def test_an_answer_that_comes_twice_is_not_taken_for_that_to_the_next_request(tmp_path: Path) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                n_bytes = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                text = json.loads(await reader.readexactly(n_bytes))["messages"][-1]["content"]
                answer = http(chat(f"re: {text}"), headers={"Connection": "keep-alive"})
                writer.write(answer)
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.write(answer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def main() -> list[str]:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        texts = []
        async with (
            Journal(tmp_path / "j") as journal,
            open_model("openai:m", base_url=url, journal=journal) as model,
        ):
            for name in "abc":
                texts.append((await model.complete(request(name))).text)
                await asyncio.sleep(0.2)
        server.close()
        return texts

    assert asyncio.run(main()) == ["re: a", "re: b", "re: c"]
