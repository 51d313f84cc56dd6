"""A run that is continued in another way than by the batches that it submitted: nothing is asked twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from test_batch_api import SETTINGS, BatchServer, ask, asked_and_killed, batch_server, hasty, request, told

from evolcoder.cli.journal import command
from evolcoder.errors import BudgetExhaustedError, EndpointError, JournalError
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import budget_of, open_model

AT_ONCE = replace(SETTINGS, batch=False)


async def chat(server: BatchServer, http: web.Request) -> web.Response:
    """Answer one request at once, and remember that it was asked."""
    text = (await http.json())["messages"][0]["content"]
    server.submitted.append(f"at once: {text}")
    return web.json_response(
        {"choices": [{"message": {"content": f"at once: {text}"}}], "usage": {"prompt_tokens": 5}}
    )


@pytest.mark.parametrize("known", [True, False])
def test_answers_of_a_batch_are_collected_by_a_run_that_asks_at_once(tmp_path: Path, known: bool) -> None:
    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server(chat) as server:
            await asked_and_killed(tmp_path / "j", server, ["a", "b"])
            if not known:  # as if killed between making the batch and noting its id
                async with Journal(tmp_path / "j") as journal:
                    journal._writer.execute("UPDATE batches SET batch_id = NULL, state = 'intended'")
            answers = await ask(tmp_path / "j", server.url, ["a", "b", "c"], settings=AT_ONCE)
            return answers, server.submitted

    answers, submitted = asyncio.run(main())
    assert submitted == ["a", "b", "at once: c"]
    assert [answer.text for answer in answers] == ["re: a", "re: b", "at once: c"]


def test_what_the_batch_cost_counts_towards_the_limit_of_a_run_that_asks_at_once(tmp_path: Path) -> None:
    answer = {
        "choices": [{"message": {"content": "x"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1999},
    }

    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server(chat) as server:
            server.answer = lambda _: (200, answer)
            await asked_and_killed(tmp_path / "j", server, ["a", "b"])
            answers = await ask(tmp_path / "j", server.url, ["a", "c"], max_usd=0.004, settings=AT_ONCE)
            return answers, server.submitted

    answers, submitted = asyncio.run(main())
    assert submitted == ["a", "b"]
    assert answers[0].text == "x"
    assert isinstance(answers[1], BudgetExhaustedError)


def test_a_batch_that_is_not_answered_yet_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    async def main() -> tuple[list[Any], list[str], list[Any]]:
        async with batch_server(chat) as server:
            await asked_and_killed(tmp_path / "j", server, ["a", "b"])
            server.open.clear()
            refused = await ask(tmp_path / "j", server.url, ["a", "c"], settings=AT_ONCE)
            before = list(server.submitted)
            server.open.set()
            return refused, before, await ask(tmp_path / "j", server.url, ["a", "b"])

    refused, before, answers = asyncio.run(main())
    assert before == ["a", "b"]
    assert all(isinstance(error, EndpointError) for error in refused)
    assert all("batch_0 of 2 requests is in_progress: continue with --batch" in str(e) for e in refused)
    assert [answer.text for answer in answers] == ["re: a", "re: b"]


@pytest.mark.parametrize("settings", [SETTINGS, AT_ONCE])
def test_another_address_is_refused_until_the_batch_is_given_up(tmp_path: Path, settings: Any) -> None:
    async def main() -> tuple[list[str], list[Any], str]:
        async with batch_server() as first, batch_server(chat) as second:
            await asked_and_killed(tmp_path / "j", first, ["a"])
            with pytest.raises(JournalError, match=f"batch_0 of 1 requests.*--base-url {first.url}"):
                await ask(tmp_path / "j", second.url, ["a"], settings=settings)
            asked = list(second.submitted)
            given_up = CliRunner().invoke(command, [str(tmp_path / "j"), "--drop-batches"])
            assert given_up.exit_code == 0
            answers = await ask(tmp_path / "j", second.url, ["a"], settings=settings)
            return asked, answers, given_up.output

    asked, answers, output = asyncio.run(main())
    assert asked == []
    assert answers[0].text.endswith(": a")
    assert "1 batches of 1 requests are given up" in output


def test_what_is_given_up_counts_as_spent_and_what_is_answered_counts_once(tmp_path: Path) -> None:
    async def main() -> tuple[float, float, dict[str, float]]:
        async with batch_server() as first, batch_server() as second:
            await asked_and_killed(tmp_path / "j", first, ["a"])
            assert CliRunner().invoke(command, [str(tmp_path / "j"), "--drop-batches"]).exit_code == 0
            async with Journal(tmp_path / "j") as journal:
                budget = budget_of(journal, 1.0, None)
                given_up = budget.usd
                assert budget.estimated_usd == given_up
            await ask(tmp_path / "j", second.url, ["a"], max_usd=1.0)
            async with Journal(tmp_path / "j") as journal:
                return given_up, budget_of(journal, 1.0, None).usd, journal.totals().counts

    given_up, usd, counts = asyncio.run(main())
    assert given_up == pytest.approx(2048e-6, rel=0.1)  # the longest answer
    assert usd == pytest.approx(given_up + 10e-6)
    assert not [name for name in counts if "batch" in name]


def test_two_teachers_at_one_address_collect_their_own_batches_once(tmp_path: Path) -> None:
    async def sitting(server: BatchServer, max_usd: float | None) -> tuple[list[Any], float]:
        ref = f"openai:m@{server.url},openai:n@{server.url}"
        async with Journal(tmp_path / "j") as journal:
            budget = budget_of(journal, max_usd, None)
            async with open_model(ref, journal=journal, settings=SETTINGS, budget=budget) as model:
                texts = (request(f"question {i}") for i in range(8))
                return await asyncio.gather(*map(model.complete, texts)), budget.usd

    async def main() -> tuple[list[Any], float, list[str], Any]:
        async with batch_server() as server:
            server.open.clear()
            run = asyncio.create_task(sitting(server, None))
            await asyncio.sleep(3)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            server.open.set()
            answers, usd = await sitting(server, 1.0)
            async with Journal(tmp_path / "j") as journal:
                return answers, usd, server.submitted, journal.totals().models

    answers, usd, submitted, models = asyncio.run(main())
    assert len(submitted) == len(answers) == 8
    assert usd == pytest.approx(8e-5)
    assert {total.model for total in models} == {"m", "n"}
    assert sum(total.replies for total in models) == 8


def test_a_batch_of_another_account_is_not_taken_for_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch)

    async def main() -> tuple[list[Any], list[str]]:
        async with batch_server() as server:
            await asked_and_killed(tmp_path / "j", server, ["a"])
            server.faults["look"] = [told(404, "no such thing") for _ in range(6)]
            other = replace(SETTINGS, project="other")
            return await ask(tmp_path / "j", server.url, ["a"], settings=other), server.submitted

    answers, submitted = asyncio.run(main())
    assert submitted == ["a"]
    assert isinstance(answers[0], EndpointError)
    assert "submitted as api_key_env OPENAI_API_KEY, now it is api_key_env OPENAI_API_KEY, project other" in (
        str(answers[0])
    )
