from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_server import bad, good, serving, text_of

from evolcoder.errors import EndpointError, ModelError, RequestRefusedError
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import open_model
from evolcoder.models.protocol import Completion, Message, Request
from evolcoder.models.stats import stats_of


def request(text: str) -> Request:
    return Request((Message("user", text),))


def test_teachers_share_by_weight_and_a_resumed_run_asks_nobody(tmp_path: Path) -> None:
    async def sitting(url: str) -> tuple[list[Completion], int]:
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = open_model("3*openai:a,openai:b", base_url=url, journal=journal)
            answers = await asyncio.gather(*(model.complete(request(str(i))) for i in range(200)))
            await model.close()
            stats = stats_of(model)
            assert stats is not None
            return answers, stats.sent

    async def main() -> None:
        async with serving(lambda body, n: good(body["model"])) as server:
            answers, sent = await sitting(server.url)
            assert sent == 200
            shares = Counter(answer.model for answer in answers)
            assert 125 <= shares["a"] <= 175
            assert all(answer.text == answer.model for answer in answers)
            again, sent = await sitting(server.url)
            assert sent == 0
            assert [answer.text for answer in again] == [answer.text for answer in answers]

    asyncio.run(main())


def test_another_teacher_stands_in_and_its_answers_are_kept(tmp_path: Path) -> None:
    down = True

    async def main() -> None:
        nonlocal down
        async with serving(
            lambda body, n: bad(401) if body["model"] == "a" and down else good(body["model"])
        ) as server:
            for expected in (20, 20):
                async with Journal(tmp_path / "j.sqlite") as journal:
                    model = open_model("openai:a,openai:b", base_url=server.url, journal=journal)
                    answers = await asyncio.gather(*(model.complete(request(str(i))) for i in range(20)))
                    await model.close()
                assert [answer.text for answer in answers] == ["b"] * 20
                assert sum(body["model"] == "b" for body in server.bodies) == expected
                down = False

    asyncio.run(main())


def test_a_request_that_one_teacher_refuses_waits_for_the_other_and_ends_no_run(tmp_path: Path) -> None:
    a_is_down = True

    async def script(body: dict[str, Any], n: int) -> web.Response:
        if body["model"] == "a":
            return bad(401) if a_is_down else good("a")
        return bad(403, "flagged by moderation") if "poison" in text_of(body) else good("b")

    async def sitting(url: str) -> list[Completion | BaseException]:
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = open_model("openai:a,openai:b", base_url=url, journal=journal)
            texts = [f"poison {i}" for i in range(9)] + [f"fine {i}" for i in range(9)]
            asked = [model.complete(request(text)) for text in texts]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            await model.close()
            return answers

    async def main() -> None:
        nonlocal a_is_down
        async with serving(script) as server:
            answers = await sitting(server.url)
            assert all(isinstance(answer, RequestRefusedError) for answer in answers[:9])
            assert all(isinstance(answer, Completion) and answer.text == "b" for answer in answers[9:])
            a_is_down = False
            answers = await sitting(server.url)
            assert all(isinstance(answer, Completion) and answer.text == "a" for answer in answers[:9])

    asyncio.run(main())


def test_when_no_teacher_answers_the_error_is_told() -> None:
    async def main() -> None:
        async with serving(lambda body, n: bad(404, "no such model")) as server:
            model = open_model("openai:a,openai:b", base_url=server.url)
            with pytest.raises(EndpointError, match="no such model"):
                await model.complete(request("x"))
            await model.close()

    asyncio.run(main())


def test_the_same_teacher_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="different ones"):
        open_model("openai:a,openai:a", base_url="http://127.0.0.1:1/v1")


def test_a_local_model_among_several_teachers_is_named() -> None:
    with pytest.raises(ModelError, match="'embedded'"):
        open_model("openai:a@http://127.0.0.1:1/v1,embedded")


def test_addresses_have_weights_and_teachers_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, str] = {}

    async def main() -> list[int]:
        def script(body, n):  # type: ignore[no-untyped-def]
            return good()

        async with serving(script) as one, serving(script) as other:
            monkeypatch.setenv("FIRST_KEY", "k1")
            monkeypatch.setenv("SECOND_KEY", "k2")
            model = open_model(f"openai:a@{one.url}#FIRST_KEY,openai:b@{other.url}#SECOND_KEY")
            await asyncio.gather(*(model.complete(request(str(i))) for i in range(20)))
            await model.close()
            keys.update(one=one.headers[0]["Authorization"], other=other.headers[0]["Authorization"])
            before = len(one.bodies), len(other.bodies)
            # Asked one by one, the idler address is always chosen: weights show where requests meet.
            model = open_model("openai:c", base_url=[f"9*{one.url}", other.url])
            await asyncio.gather(*(model.complete(request(f"w{i}")) for i in range(30)))
            await model.close()
            return [len(one.bodies) - before[0], len(other.bodies) - before[1]]

    shares = asyncio.run(main())
    assert keys == {"one": "Bearer k1", "other": "Bearer k2"}
    assert shares == [27, 3]
