"""A limit in dollars holds whatever earlier sittings did and however many tokens a prompt comes to."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_server import good, serving, text_of
from test_batch_api import SETTINGS, batch_server
from test_http import request

from evolcoder.errors import BudgetExhaustedError
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import budget_of, open_model
from evolcoder.models.protocol import Completion

PRICES = EndpointSettings(usd_per_million_input=1e6, usd_per_million_output=1e6, concurrency=4)


async def sitting(
    path: Path, url: str, texts: list[str], max_usd: float | None, settings: EndpointSettings, name: str = "m"
) -> tuple[list[Any], float]:
    """Ask for answers of 100 tokens; return what came and what is spent over all sittings."""
    async with Journal(path) as journal:
        budget = budget_of(journal, max_usd, None)
        ref = ",".join(f"openai:{one}@{url}" for one in name.split(","))
        async with open_model(ref, journal=journal, settings=settings, budget=budget) as model:
            work = (model.complete(request(text, max_tokens=100)) for text in texts)
            return await asyncio.gather(*work, return_exceptions=True), budget.usd


@pytest.mark.parametrize("batch", [True, False])
def test_a_prompt_of_as_many_tokens_as_bytes_is_set_aside_as_that(tmp_path: Path, batch: bool) -> None:
    texts = [f"{i} " + "=>" * 500 for i in range(20)]

    def bill(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answer = {"choices": [{"message": {"content": "x"}}]}
        return 200, answer | {"usage": {"prompt_tokens": len(text_of(body)), "completion_tokens": 100}}

    async def chat(_: Any, http: web.Request) -> web.Response:
        return web.json_response(bill(await http.json())[1])

    async def main() -> tuple[list[Any], float]:
        async with batch_server(chat) as server:
            server.answer = bill
            settings = replace(SETTINGS, batch=batch, concurrency=8)
            return await sitting(tmp_path / "j", server.url, texts, 0.007, settings)

    answers, usd = asyncio.run(main())
    assert 4 <= sum(isinstance(answer, Completion) for answer in answers) <= 6
    assert isinstance(answers[-1], BudgetExhaustedError)
    assert 0.0044 <= usd <= 0.007


@pytest.mark.parametrize("now", ["m-2026", "m-2026,n"])
def test_what_another_name_of_a_model_answered_without_a_price_counts(
    tmp_path: Path, now: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> list[tuple[list[Any], float]]:
        async with serving(lambda body, n: good(usage=(1, 2))) as server:
            how = (tmp_path / "j", server.url)
            await sitting(*how, ["a", "b", "c"], None, replace(PRICES, **dict.fromkeys(UNPRICED)))
            stopped = await sitting(*how, ["d"], 9.0, PRICES, now)
            higher = await sitting(*how, ["d"], 3000.0, PRICES, now)
            its_own = await sitting(*how, ["e"], 3000.0, PRICES)
            return [stopped, higher, its_own]

    stopped, higher, its_own = asyncio.run(main())
    assert isinstance(stopped[0][0], BudgetExhaustedError)
    assert "9.0000 US dollars spent (9.0000 an estimate" in str(stopped[0][0])
    assert isinstance(higher[0][0], Completion)
    assert (higher[1], its_own[1]) == (9.0 + 3.0, 9.0 + 3.0 + 3.0)
    shown = now.replace(",", ", ")
    assert f"3 earlier answers of m have no price: max_usd counts them at that of {shown}" in caplog.text


UNPRICED = ("usd_per_million_input", "usd_per_million_output")


def test_what_a_model_in_this_process_answered_costs_nothing(tmp_path: Path) -> None:
    async def main() -> float:
        async with Journal(tmp_path / "j") as journal:
            await journal.put("00" * 16, Completion("x", "stop", 1000, 1000), "embedded")
        async with serving(lambda body, n: good(usage=(1, 2))) as server:
            return (await sitting(tmp_path / "j", server.url, ["a"], 3000.0, PRICES))[1]

    assert asyncio.run(main()) == 3.0


def test_what_a_killed_sitting_without_a_limit_had_in_flight_counts_towards_a_later_one(
    tmp_path: Path,
) -> None:
    asked: list[str] = []
    all_asked = asyncio.Event()

    async def script(body: dict[str, Any], n: int) -> web.Response:
        asked.append(text_of(body))
        if len(asked) == 3:
            all_asked.set()
        await asyncio.sleep(60 if text_of(body) != "first" else 0)
        return good(usage=(0, 100))

    def copied() -> None:
        for file in tmp_path.glob("a*"):  # as the files stand now, so a kill leaves them
            shutil.copy(file, tmp_path / file.name.replace("a", "b", 1))

    async def main() -> float:
        free = replace(PRICES, usd_per_million_input=0.0)
        async with serving(script) as server:
            run = asyncio.create_task(sitting(tmp_path / "a", server.url, ["first", "b", "c"], None, free))
            await all_asked.wait()
            await asyncio.sleep(0.2)
            copied()
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        async with Journal(tmp_path / "b") as journal:
            return budget_of(journal, 1000.0, None).usd

    assert asyncio.run(main()) == pytest.approx(100 + 2 * 101)
