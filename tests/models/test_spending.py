"""What is spent: limits on money and requests, prices, and what counts although nobody could use it."""

from __future__ import annotations

import asyncio
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_server import Server, good, serving, text_of
from test_http import raw, request, run, told

from evolcoder.errors import BudgetExhaustedError, ModelError, UserError
from evolcoder.models.budget import SpendingBudget
from evolcoder.models.endpoint.pricing import FixedPrice, dearest_price, price_for
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import budget_of, open_model
from evolcoder.models.protocol import Completion, LanguageModel
from evolcoder.models.stats import stats_of


def test_a_limit_on_requests_stops_cleanly_and_the_same_work_resumes(tmp_path: Path) -> None:
    async def sitting(url: str, limit: int | None) -> tuple[int, Exception | None]:
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = open_model(
                "openai:m", base_url=url, journal=journal, budget=budget_of(journal, None, limit)
            )
            results = await asyncio.gather(
                *(model.complete(request(str(i))) for i in range(30)), return_exceptions=True
            )
            await model.close()
            errors = [result for result in results if isinstance(result, Exception)]
            return 30 - len(errors), errors[0] if errors else None

    async def main() -> tuple[list[tuple[int, Exception | None]], Server]:
        async def script(body: dict[str, Any], n: int) -> web.Response:
            await asyncio.sleep(0.005)
            return good()

        async with serving(script) as server:
            return [await sitting(server.url, limit) for limit in (12, 12, 20, None)], server

    sittings, server = asyncio.run(main())
    assert [done for done, _ in sittings] == [12, 12, 20, 30]
    assert isinstance(sittings[0][1], BudgetExhaustedError)
    assert "12 requests sent" in str(sittings[0][1])
    assert len(server.bodies) == 30


def test_a_limit_in_dollars_is_kept_with_requests_in_flight() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        await asyncio.sleep(0.005)
        return good(usage=(1000, 1000))

    budget = SpendingBudget(max_usd=1.0)
    results, server, _ = run(
        script,
        *(request(f"{i} " + "x" * 4000) for i in range(60)),
        price=FixedPrice(1e-5, 4e-5),
        budget=budget,
        settings=EndpointSettings(concurrency=8),
    )
    done = [result for result in results if not isinstance(result, Exception)]
    assert {type(result) for result in results} == {Completion, BudgetExhaustedError}
    assert 0.9 <= 0.05 * len(done) <= 1.0
    assert len(server.bodies) == len(done)


def test_a_limit_in_dollars_holds_where_answers_become_longer_than_they_were() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        await asyncio.sleep(0.005)
        return good(usage=(0, 10 if int(text_of(body)) < 40 else 1000))

    budget = SpendingBudget(max_usd=10.0)
    results, server, _ = run(
        script,
        *(request(f"{i}", max_tokens=1000) for i in range(90)),
        price=FixedPrice(0.0, 1e-3),
        budget=budget,
        settings=EndpointSettings(concurrency=8),
    )
    done = [result for result in results if not isinstance(result, Exception)]
    assert len(server.bodies) == len(done)
    assert 8.0 < budget.usd <= 10.0


def test_a_budget_in_dollars_without_a_price_is_refused() -> None:
    with pytest.raises(ModelError, match="usd_per_million_input"):
        open_model("openai:m", base_url="http://127.0.0.1:1/v1", budget=SpendingBudget(max_usd=1.0))


@pytest.mark.parametrize("usd", [-1.0, float("nan"), float("inf")])
def test_a_price_or_a_limit_that_is_no_amount_of_money_is_refused(usd: float) -> None:
    with pytest.raises(ValueError, match="usd_per_million_output must be 0 or more"):
        EndpointSettings(usd_per_million_input=1.0, usd_per_million_output=usd)
    if usd != float("inf"):
        with pytest.raises(UserError, match="max_usd must be 0 or more"):
            SpendingBudget(max_usd=usd)


def test_answers_thrown_away_count_as_spent(tmp_path: Path) -> None:
    async def main() -> float:
        async with (
            serving(lambda body, n: good("", usage=(10, 0)) if n == 0 else good()) as server,
            Journal(tmp_path / "j.sqlite") as journal,
        ):
            prices = EndpointSettings(usd_per_million_input=1e4, usd_per_million_output=0.0)
            model: LanguageModel = open_model(
                "openai:m", base_url=server.url, journal=journal, settings=prices
            )
            await model.complete(request())
            await model.close()
            stats = stats_of(model)
            assert stats is not None
            assert stats.usd == pytest.approx(0.2)
            return journal.totals().spent_usd

    assert asyncio.run(main()) == pytest.approx(0.2)


def test_prices_are_those_of_the_hour_and_of_the_length_of_the_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hour = 3

    class At(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime(2025, 7, 1, hour, 45, 12, tzinfo=tz)

    monkeypatch.setattr("evolcoder.models.endpoint.pricing.datetime", At)
    price = price_for("deepseek-chat", "https://api.deepseek.com/v1", EndpointSettings())
    assert price is not None
    by_day = price(1000, 1000)
    hour = 17  # its nights were cheaper in that year
    assert price(1000, 1000) == pytest.approx(by_day / 2)
    long = price_for(
        "gemini-2.5-pro", "https://generativelanguage.googleapis.com", EndpointSettings(batch=True)
    )
    assert long is not None
    assert long(300_000, 0) > 1.5 * 300 * long(1000, 0)
    assert price_for("no-such-model", "https://api.openai.com/v1", EndpointSettings()) is None


@pytest.mark.parametrize(
    ("answer", "usd"),
    [
        (lambda: told(None, "length"), 2.148),
        (lambda: told("no", "abort"), 2.148),
        (lambda: web.json_response({"choices": [{"message": {"content": "a"}}]}), None),
        (lambda: told("a", usage={"prompt_tokens": -1, "completion_tokens": 10**20}), None),
    ],
)
def test_the_limit_in_dollars_counts_what_is_billed_whether_it_is_of_use_or_not(
    answer: Any, usd: Any
) -> None:
    budget = SpendingBudget(max_usd=10.0)
    _, server, model = run(
        lambda body, n: answer(),
        *(request(f"{i}", max_tokens=2000) for i in range(40)),
        price=FixedPrice(1e-3, 1e-3),
        budget=budget,
        settings=EndpointSettings(concurrency=1, max_attempts=3),
    )
    spent = len(server.bodies) * (usd or 2.0)
    assert 0 < spent <= 10.0 + 2.2
    assert budget.usd == pytest.approx(spent, rel=0.05)
    assert (model.stats.estimated > 0) == (usd is None)


def test_an_event_stream_that_nobody_asked_for_counts_as_billed() -> None:
    stream = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'
    budget = SpendingBudget(max_usd=10.0)
    _, server, _ = run(
        lambda body, n: good(usage=(10, 2000)) if text_of(body) == "0" else raw(stream),
        *(request(f"{i}", max_tokens=2000) for i in range(40)),
        price=FixedPrice(0.0, 1e-3),
        budget=budget,
        settings=EndpointSettings(concurrency=1),
    )
    assert budget.usd <= 10.0
    assert len(server.bodies) == 4


def test_an_attempt_that_was_cut_short_counts_in_later_sittings_too(tmp_path: Path) -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        await asyncio.sleep(60 if n == 0 else 0)
        return good(usage=(10, 20))

    async def main() -> tuple[float, float]:
        prices = EndpointSettings(usd_per_million_input=0, usd_per_million_output=1e6, timeout_s=0.2)
        async with serving(script) as server, Journal(tmp_path / "j.sqlite") as journal:
            budget = budget_of(journal, 1000.0, None)
            model = open_model(
                "openai:m", base_url=server.url, journal=journal, settings=prices, budget=budget
            )
            async with model:
                await model.complete(request(max_tokens=99))
            return budget.usd, budget_of(journal, 1000.0, None).usd

    now, later = asyncio.run(main())
    assert now == pytest.approx(100 + 20)
    assert later == now


def test_sittings_killed_with_requests_in_flight_do_not_pass_a_limit(tmp_path: Path) -> None:
    limit_usd, limit_requests, asked = 50.0, 12, 0
    prices = EndpointSettings(usd_per_million_input=0, usd_per_million_output=1e5, concurrency=5)

    async def killed(url: str, server: Server, sitting: int) -> None:
        nonlocal asked
        async with Journal(tmp_path / f"{sitting}" / "j.sqlite") as journal:
            budget = budget_of(journal, limit_usd, limit_requests)
            model = open_model("openai:m", base_url=url, journal=journal, settings=prices, budget=budget)
            work = [model.complete(request(f"{sitting} {i}", max_tokens=59)) for i in range(9)]
            tasks = [asyncio.ensure_future(one) for one in work]
            before = len(server.bodies)
            for _ in range(40):
                await asyncio.sleep(0.01)
                if len(server.bodies) - before == 5:
                    break
            # As the folder stands now, so a kill leaves it.
            shutil.copytree(tmp_path / f"{sitting}", tmp_path / f"{sitting + 1}")
            asked = len(server.bodies)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await model.close()

    async def script(body: dict[str, Any], n: int) -> web.Response:
        await asyncio.sleep(60)
        return good()

    async def main() -> tuple[float, int]:
        async with serving(script) as server:
            for sitting in range(4):
                await killed(server.url, server, sitting)
        async with Journal(tmp_path / "4" / "j.sqlite") as journal:
            budget = budget_of(journal, limit_usd, limit_requests)
            return budget.usd, budget.requests

    usd, requests = asyncio.run(main())
    assert asked == requests == 8  # of 6 dollars at most: 9 of them do not fit
    assert usd == pytest.approx(8 * 6.0)


def test_several_addresses_of_a_model_are_counted_at_the_dearest_price() -> None:
    openai, private = "https://api.openai.com/v1", "http://127.0.0.1:1/v1"
    cheap, dear = price_for("gpt-4o-mini", openai, EndpointSettings()), FixedPrice(1.0, 1.0)
    assert cheap is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "evolcoder.models.endpoint.pricing.price_for", lambda _, url, __: dear if "b" in url else cheap
        )
        price = dearest_price("gpt-4o-mini", ["https://a", "https://b"], EndpointSettings())
        assert price is not None
        assert price(1, 1) == 2.0
    assert dearest_price("gpt-4o-mini", [openai, private], EndpointSettings()) is None
    with pytest.raises(ModelError, match=f"max_usd needs a price for 'gpt-4o-mini' at {private}"):
        open_model(
            "openai:gpt-4o-mini",
            base_url=[openai, private],
            settings=EndpointSettings(api_key_env="PATH"),
            budget=SpendingBudget(max_usd=1.0),
        )


def test_replies_of_a_sitting_without_a_price_count_at_the_price_known_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prices = EndpointSettings(usd_per_million_input=1e6, usd_per_million_output=1e6, concurrency=1)

    def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "wasted" and n == 0:
            return good("", usage=(7, 0))
        if text_of(body) == "untold":
            return web.json_response({"choices": [{"message": {"content": "fine"}}]})
        return good(usage=(1, 2))

    async def sitting(url: str, max_usd: float | None, texts: list[str]) -> list[Any]:
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = open_model(
                "openai:m",
                base_url=url,
                journal=journal,
                settings=EndpointSettings() if max_usd is None else prices,
                budget=budget_of(journal, max_usd, None),
            )
            async with model:
                work = (model.complete(request(text, max_tokens=2)) for text in texts)
                return await asyncio.gather(*work, return_exceptions=True)

    async def main() -> tuple[list[Any], list[Any], float]:
        async with serving(script) as server:
            await sitting(server.url, None, ["a", "b", "wasted", "untold"])
            stopped = await sitting(server.url, 20.0, ["c"])
            went_on = await sitting(server.url, 200.0, ["c"])
        async with Journal(tmp_path / "j.sqlite") as journal:
            return stopped, went_on, journal.totals().spent_usd

    stopped, went_on, usd = asyncio.run(main())
    assert isinstance(stopped[0], BudgetExhaustedError)
    assert str(stopped[0]).startswith("16.0000 US dollars spent (7.0000 an estimate")
    assert isinstance(went_on[0], Completion)
    assert usd == pytest.approx(3 * 3 + 7 + 3)
    assert "1 earlier answers of m came without a count of tokens and without a price" in caplog.text
