"""Answers in flight when an address turns away, or fails now and then, are paid for: they are kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_server import bad, good, serving, text_of
from test_http import request

from evolcoder.errors import EndpointError
from evolcoder.execution.bounded import map_bounded
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.journal.totals import read_totals
from evolcoder.models.opening import open_model
from evolcoder.models.protocol import Completion

SLOW_S = 0.8


async def asked(path: Path, url: str, texts: list[str], **settings: Any) -> list[Any]:
    """Ask as a stage does: the first error ends it and cancels the rest."""
    async with Journal(path) as journal:
        how = EndpointSettings(**settings)
        async with open_model("openai:m", base_url=url, journal=journal, settings=how) as model:
            work = map_bounded(lambda text: model.complete(request(text)), texts, 2000)
            return [answer async for answer in work]


@pytest.mark.parametrize("status", [401, 402, 307])
def test_an_address_that_refuses_everything_from_now_on_answers_what_it_was_asked(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answered = 0

    async def script(body: dict[str, Any], n: int) -> web.Response:
        nonlocal answered
        if text_of(body) == "refused":
            await asyncio.sleep(SLOW_S / 4)
            return bad(status, "no more")
        await asyncio.sleep(SLOW_S)
        answered += 1
        return good()

    async def main() -> int:
        async with serving(script) as server:
            # So many that some wait for the rate limit: those are not sent any more.
            texts = ["refused", *map(str, range(100))]
            with pytest.raises(EndpointError, match=rf"refuses every request \(HTTP {status}: no more"):
                await asked(tmp_path / "j", server.url, texts)
            return len(server.bodies)

    sent = asyncio.run(main())
    assert read_totals(tmp_path / "j").replies == answered == sent - 1 <= 32
    assert f"{answered} answers in flight are waited for" in caplog.text


@pytest.mark.parametrize("how", ["by an error", "by ctrl-c"])
def test_what_is_in_flight_when_a_run_ends_is_kept_but_not_waited_for_by_ctrl_c(
    tmp_path: Path, how: str
) -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        await asyncio.sleep(SLOW_S)
        return good()

    async def stage(url: str) -> None:
        async with (
            Journal(tmp_path / "j") as journal,
            open_model("openai:m", base_url=url, journal=journal) as model,
            asyncio.TaskGroup() as work,
        ):
            for text in map(str, range(40)):  # more than are sent at once in the beginning
                work.create_task(model.complete(request(text)))
            await asyncio.sleep(SLOW_S / 4)
            if how == "by an error":
                raise OSError("the rows cannot be written")
            await asyncio.sleep(60)

    async def main() -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        async with serving(script) as server:
            begun, run = loop.time(), asyncio.create_task(stage(server.url))
            await asyncio.sleep(SLOW_S / 2)
            if how == "by ctrl-c":
                run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            return loop.time() - begun, len(server.bodies)

    seconds, sent = asyncio.run(main())
    kept = read_totals(tmp_path / "j").replies
    assert 0 < sent <= 32
    assert (kept, seconds > SLOW_S) == ((sent, True) if how == "by an error" else (0, False))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_address_whose_answers_take_longer_than_its_patience_may_fail_now_and_then(
    tmp_path: Path, status: int
) -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "odd" and n < 3:
            await asyncio.sleep(0.1)
            return bad(status)
        await asyncio.sleep(SLOW_S)
        return good()

    async def main() -> list[Any]:
        async with serving(script) as server:
            return await asked(tmp_path / "j", server.url, ["odd", "a", "b"], patience_s=SLOW_S / 4)

    assert [type(answer) for answer in asyncio.run(main())] == [Completion] * 3


def test_a_failure_after_a_pause_in_the_asking_is_no_long_silence(tmp_path: Path) -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        return bad(503) if text_of(body) == "later" and n == 0 else good()

    async def main() -> Completion:
        async with serving(script) as server, Journal(tmp_path / "j") as journal:
            how = EndpointSettings(patience_s=0.3)
            async with open_model("openai:m", base_url=server.url, journal=journal, settings=how) as model:
                await model.complete(request("first"))
                await asyncio.sleep(0.5)
                return await model.complete(request("later"))

    assert asyncio.run(main()).text == "fine"


def test_an_address_that_only_fails_is_given_up_after_its_patience_though_some_hang(tmp_path: Path) -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "first":
            return good()
        await asyncio.sleep(60 if text_of(body) == "hangs" else 0)
        return bad(503)

    async def main() -> None:
        async with serving(script) as server, Journal(tmp_path / "j") as journal:
            how = EndpointSettings(patience_s=0.3, timeout_s=1.5, max_attempts=1000)
            async with open_model("openai:m", base_url=server.url, journal=journal, settings=how) as model:
                await model.complete(request("first"))
                with pytest.raises(EndpointError, match=r"gave no answer for [12] s"):
                    async with asyncio.timeout(10):
                        await asyncio.gather(*(model.complete(request(text)) for text in ("hangs", "a", "b")))

    asyncio.run(main())
