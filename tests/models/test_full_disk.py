"""A journal on a disk that takes nothing more: what is paid for is kept as long as it can be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from scripted_server import good, serving, text_of
from test_http import request

from evolcoder.errors import JournalWriteError
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal, JournaledModel
from evolcoder.models.journal.totals import read_totals
from evolcoder.models.opening import budget_of, open_model
from evolcoder.models.protocol import Completion, LanguageModel, Request

LONG = "x" * 100_000


def reply(text: str) -> Completion:
    return Completion(text, "stop", 3, 7)


def make_room(journal: Journal, pages: int | None = None) -> None:
    """Let the file grow by so many pages at most, as a full disk does; None: as far as it likes."""
    held = journal._writer.execute("PRAGMA page_count").fetchone()[0]
    journal._writer.execute(f"PRAGMA max_page_count = {1 << 30 if pages is None else held + pages}")


def test_a_full_disk_is_told_and_what_was_durable_stays(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"

    async def main() -> None:
        journal = Journal(path, retry_for_s=0.1, retry_every_s=0.02)
        await journal.put("00" * 16, reply("short"))
        make_room(journal, 0)
        with pytest.raises(JournalWriteError, match=r"full.*the same command continues"):
            await journal.put("01" * 16, reply(LONG))
        with pytest.raises(JournalWriteError):
            await journal.put("02" * 16, reply("short"))
        with pytest.raises(JournalWriteError, match="2 replies that came are lost"):
            await journal.close()

    asyncio.run(main())
    assert read_totals(path).replies == 1


class Answering(LanguageModel):
    """Answers at once, but one that is slow."""

    name = "m"

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(str(request.prompt))
        if request.prompt == "slow":
            await asyncio.sleep(0.1)
        return reply(LONG)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("in_time", [True, False])
def test_on_a_full_disk_nothing_is_asked_and_what_was_asked_is_kept_until_there_is_room(
    tmp_path: Path, in_time: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> tuple[list[str], list[Any], int]:
        behind = Answering()
        async with Journal(
            tmp_path / "j.sqlite", retry_for_s=9 if in_time else 0.3, retry_every_s=0.02
        ) as journal:
            model = JournaledModel(behind, journal)
            make_room(journal, 0)
            tasks = [asyncio.create_task(model.complete(Request(text))) for text in ("slow", "a")]
            await asyncio.sleep(0.05)
            tasks.append(asyncio.create_task(model.complete(Request("late"))))
            await asyncio.sleep(0.1 if in_time else 0.5)
            asked = list(behind.asked)
            make_room(journal)  # where it is too late, the journal is still written when it is closed
            results = await asyncio.gather(*tasks, return_exceptions=True)
        return asked, results, read_totals(tmp_path / "j.sqlite").replies

    asked, results, replies = asyncio.run(main())
    assert asked == ["slow", "a"]
    assert "Nothing more is asked" in caplog.text
    if in_time:
        assert all(isinstance(result, Completion) for result in results)
        assert replies == 3
        assert "can be written again" in caplog.text
    else:
        assert all(isinstance(result, JournalWriteError) for result in results)
        assert replies == 2


def test_replies_that_a_full_disk_loses_count_towards_the_limit_later(tmp_path: Path) -> None:
    prices = EndpointSettings(usd_per_million_input=0, usd_per_million_output=1e6, concurrency=2)
    asked: list[str] = []
    both = asyncio.Event()

    async def script(body: dict[str, Any], n: int) -> Any:
        asked.append(text_of(body))
        if len(asked) == 2:
            both.set()
        await asyncio.sleep(0.1)
        return good(LONG, usage=(1, 9))

    async def main() -> tuple[list[Any], float, int]:
        async with serving(script) as server:
            journal = Journal(tmp_path / "j.sqlite", retry_for_s=0.3, retry_every_s=0.02)
            budget = budget_of(journal, 1000.0, None)
            model = open_model(
                "openai:m", base_url=server.url, journal=journal, settings=prices, budget=budget
            )
            work = [asyncio.create_task(model.complete(request(str(i), max_tokens=19))) for i in range(9)]
            await both.wait()
            make_room(journal, 0)
            results = await asyncio.gather(*work, return_exceptions=True)
            with pytest.raises(JournalWriteError, match="2 replies that came are lost"):
                await journal.close()
            await model.close()
        async with Journal(tmp_path / "j.sqlite") as journal:
            later = budget_of(journal, 1000.0, None)
            return results, later.usd, later.requests

    results, usd, requests = asyncio.run(main())
    assert len(asked) == requests == 2
    assert all(isinstance(result, JournalWriteError) for result in results)
    assert usd == 2 * 20.0  # what was set aside
