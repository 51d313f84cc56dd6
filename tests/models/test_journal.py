from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from evolcoder.cli.journal import command
from evolcoder.errors import JournalError, JournalWriteError
from evolcoder.models.journal.database import open_for_writing
from evolcoder.models.journal.journal import Journal, JournaledModel
from evolcoder.models.journal.repair import repair_journal
from evolcoder.models.journal.totals import read_totals
from evolcoder.models.protocol import Completion, Message, Request, Sampling


def request(text: str, index: int = 0) -> Request:
    return Request((Message("user", text),), Sampling(temperature=1.0), index)


def reply(text: str = "an answer", usd: float | None = 0.5) -> Completion:
    return Completion(text, "stop", 3, 7, usd, 0.1)


class Echo:
    """A model that counts what it is asked."""

    name = "echo"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def complete(self, request: Request) -> Completion:
        assert not isinstance(request.prompt, str)
        self.asked.append(request.prompt[0].content)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return reply(f"re: {request.prompt[0].content}")

    async def close(self) -> None:
        pass


def test_an_answered_request_is_not_asked_again(tmp_path: Path) -> None:
    async def sitting() -> tuple[list[str], Completion]:
        echo = Echo()
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = JournaledModel(echo, journal)
            first = await model.complete(request("a"))
            await model.complete(request("a", index=1))
        return echo.asked, first

    asked, first = asyncio.run(sitting())
    assert asked == ["a", "a"]
    assert not first.cached
    asked, again = asyncio.run(sitting())
    assert asked == []
    assert again.cached
    assert (again.text, again.cost_usd, again.prompt_tokens, again.completion_tokens, again.seconds) == (
        first.text,
        first.cost_usd,
        first.prompt_tokens,
        first.completion_tokens,
        first.seconds,
    )


def test_equal_requests_at_the_same_time_are_asked_once(tmp_path: Path) -> None:
    async def main() -> tuple[list[str], set[str]]:
        echo = Echo()
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = JournaledModel(echo, journal)
            answers = await asyncio.gather(*(model.complete(request("same")) for _ in range(50)))
        return echo.asked, {answer.text for answer in answers}

    assert asyncio.run(main()) == (["same"], {"re: same"})


def test_when_the_asker_is_cancelled_another_who_waits_asks(tmp_path: Path) -> None:
    async def main() -> tuple[list[str], str]:
        echo = Echo()
        echo.gate.clear()
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = JournaledModel(echo, journal)
            first = asyncio.create_task(model.complete(request("x")))
            second = asyncio.create_task(model.complete(request("x")))
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.sleep(0.01)
            echo.gate.set()
            return echo.asked, (await second).text

    assert asyncio.run(main()) == (["x", "x"], "re: x")


def test_all_who_wait_can_be_cancelled_together(tmp_path: Path) -> None:
    async def main() -> int:
        echo = Echo()
        echo.gate.clear()
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = JournaledModel(echo, journal)
            tasks = [asyncio.create_task(model.complete(request("x"))) for _ in range(5)]
            await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            return sum(isinstance(result, asyncio.CancelledError) for result in done)

    assert asyncio.run(main()) == 5


def test_an_error_reaches_all_who_wait_and_is_not_remembered(tmp_path: Path) -> None:
    async def main() -> tuple[list[type], str]:
        echo = Echo()
        echo.error = RuntimeError("down")
        async with Journal(tmp_path / "j.sqlite") as journal:
            model = JournaledModel(echo, journal)
            failed = await asyncio.gather(
                *(model.complete(request("x")) for _ in range(3)), return_exceptions=True
            )
            echo.error = None
            return [type(error) for error in failed], (await model.complete(request("x"))).text

    assert asyncio.run(main()) == ([RuntimeError] * 3, "re: x")


def test_replies_of_one_tick_become_durable_in_one_transaction(tmp_path: Path) -> None:
    async def main() -> list[int]:
        path = tmp_path / "j.sqlite"
        seen = []
        async with Journal(path) as journal:
            reader = sqlite3.connect(path)
            for batch in range(20):
                waiting = [journal.put(f"{batch:016x}{i:016x}", reply()) for i in range(37)]
                pending = asyncio.gather(*waiting)
                while not pending.done():
                    seen.append(reader.execute("SELECT count(*) FROM replies").fetchone()[0] % 37)
                    await asyncio.sleep(0)
                await pending
            reader.close()
        return seen

    assert set(asyncio.run(main())) == {0}


def test_flushed_returns_after_those_who_wait_for_their_reply_went_on(tmp_path: Path) -> None:
    async def main() -> list[str]:
        order: list[str] = []
        async with Journal(tmp_path / "j.sqlite") as journal:

            async def put() -> None:
                await journal.put("ab" * 16, reply())
                order.append("put")

            async def flushed() -> None:
                await asyncio.sleep(0)
                await journal.flushed()
                order.append("flushed")

            await asyncio.gather(flushed(), put())
        return order

    assert asyncio.run(main()) == ["put", "flushed"]


def test_a_killed_process_loses_no_durable_reply(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    program = textwrap.dedent(
        """
        import asyncio, sys
        from evolcoder.models.journal.journal import Journal
        from evolcoder.models.protocol import Completion

        async def main():
            journal = Journal(sys.argv[1])
            async def one(i):
                await journal.put(f"{i:032x}", Completion("x" * 500, "stop", 1, 1))
                print(i, flush=True)
            for start in range(0, 10**6, 10):
                await asyncio.gather(*(one(start + i) for i in range(10)))

        asyncio.run(main())
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.read().splitlines(keepends=True)
    process.wait()
    durable = [int(line) for line in said if line.endswith("\n")]

    async def missing() -> list[int]:
        async with Journal(path) as journal:
            return [i for i in durable if journal.find(f"{i:032x}") is None]

    assert len(durable) >= 200
    assert asyncio.run(missing()) == []


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"

    async def main() -> int:
        async with Journal(path) as journal:
            await journal.put("00" * 16, reply())
            with pytest.raises(JournalError, match=f"process {os.getpid()}.* writes this journal"):
                Journal(path)
            return read_totals(path).replies

    assert asyncio.run(main()) == 1
    Journal(path).close_now()


def test_a_journal_has_one_writer_by_whatever_name_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    journal = Journal(tmp_path / "j.sqlite")
    (tmp_path / "a" / "link.sqlite").symlink_to(tmp_path / "j.sqlite")
    with pytest.raises(JournalError, match="another evolcoder"):
        Journal(tmp_path / "a" / "link.sqlite")
    journal.close_now()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello, this is no journal" * 10, "does not begin as a SQLite file"),
        (b'{"key": 1}\n', "does not begin as a SQLite file"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_untouched(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=says):
        Journal(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"another program \(tables: bookmarks\).*move it away"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    Journal(path).close_now()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(JournalError, match="format 99"):
        Journal(path)


def full_journal(path: Path, n: int = 2000) -> None:
    async def fill() -> None:
        async with Journal(path) as journal:
            for i in range(n):
                journal.put(f"{i:032x}", reply(f"answer {i} " + "x" * 300))
            await journal.flushed()

    asyncio.run(fill())


def test_a_disk_that_takes_nothing_is_not_called_damage(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as on a full disk
    try:
        with pytest.raises(JournalWriteError, match="is it full, or read-only"):
            open_for_writing(tmp_path / "journal.sqlite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    open_for_writing(tmp_path / "journal.sqlite").close()


def test_a_damaged_journal_is_refused_and_repair_keeps_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    full_journal(path)
    data = bytearray(path.read_bytes())
    for text in (b"answer 500 ", b"answer 1500 "):
        page = data.index(text) // 4096 * 4096
        data[page : page + 4096] = random.Random(0).randbytes(4096)
    path.write_bytes(data)
    with pytest.raises(JournalError, match="--repair"):
        Journal(path)
    repair = repair_journal(path)
    assert 1900 <= repair.saved < 2000
    assert repair.kept_as.read_bytes() == bytes(data)

    async def sound() -> int:
        async with Journal(path) as journal:
            found = [journal.find(f"{i:032x}") for i in range(2000)]
        assert all(answer is None or answer.text.startswith(f"answer {i} ") for i, answer in enumerate(found))
        return sum(answer is not None for answer in found)

    assert asyncio.run(sound()) == repair.saved


def test_a_second_repair_leaves_what_the_first_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    full_journal(path)
    first, second = repair_journal(path), repair_journal(path)
    assert first.kept_as != second.kept_as
    assert first.kept_as.exists() and second.kept_as.exists()


def test_a_truncated_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    full_journal(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(JournalError, match="damaged"):
        Journal(path)


def test_a_reply_whose_bytes_changed_on_the_disk_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    full_journal(path, n=1)
    path.write_bytes(path.read_bytes().replace(b"answer 0", b"answer 9"))
    journal = Journal(path)
    with pytest.raises(JournalError, match="checksum"):
        journal.find("00" * 16)
    journal.close_now()


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.builds(
            Completion,
            st.text(),
            st.sampled_from(["stop", "length"]),
            st.integers(0, 10**9),
            st.integers(0, 10**9),
            st.one_of(st.none(), st.floats(0, 100)),
            st.floats(0, 10**6),
        ),
        max_size=20,
    )
)
def test_a_reply_comes_back_as_it_was(replies: list[Completion]) -> None:
    import tempfile

    async def main() -> list[Completion | None]:
        with tempfile.TemporaryDirectory() as folder:
            async with Journal(Path(folder) / "j.sqlite") as journal:
                await asyncio.gather(*(journal.put(f"{i:032x}", r, "m") for i, r in enumerate(replies)))
                return [journal.find(f"{i:032x}") for i in range(len(replies))]

    assert asyncio.run(main()) == [replace(r, cached=True, model="m") for r in replies]


def test_a_lone_surrogate_survives(tmp_path: Path) -> None:
    async def main() -> Completion | None:
        async with Journal(tmp_path / "j.sqlite") as journal:
            await journal.put("0f" * 16, reply("broken \ud800 text"))
            return journal.find("0f" * 16)

    found = asyncio.run(main())
    assert found is not None
    assert found.text == "broken \ud800 text"


def test_the_journal_command_tells_what_was_spent(tmp_path: Path) -> None:
    async def main() -> None:
        async with Journal(tmp_path / "journal.sqlite") as journal:
            model = JournaledModel(Echo(), journal)
            await model.complete(request("a"))
            await model.complete(request("a"))
            await model.complete(request("b"))

    asyncio.run(main())
    result = CliRunner().invoke(command, [str(tmp_path), "--json"])
    told = json.loads(result.output)
    assert told["replies"] == 2
    assert told["spent_usd"] == 1.0
    assert told["counts"]["hits"] == 1
    assert "echo: 2 replies" in CliRunner().invoke(command, [str(tmp_path)]).output


def test_the_journal_command_refuses_a_folder_without_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert isinstance(result.exception, JournalError)
    assert "no journal there" in str(result.exception)


def test_reasoning_is_kept_beside_its_reply_and_survives_a_repair(tmp_path: Path) -> None:
    path, thoughtful = tmp_path / "j.sqlite", Completion("4", "stop", 1, 2, reasoning="2 and 2 \ud83d")
    keys = [Request("a").key("m"), Request("b").key("m")]

    async def main() -> list[Completion | None]:
        async with Journal(path) as journal:
            await asyncio.gather(
                journal.put(keys[0], thoughtful), journal.put(keys[1], Completion("5", "stop", 1, 2))
            )
        repair_journal(path)
        async with Journal(path) as journal:
            return [journal.find(key) for key in keys]

    first, second = asyncio.run(main())
    assert first is not None and second is not None
    assert (first.text, first.reasoning) == ("4", "2 and 2 \ud83d")
    assert (second.text, second.reasoning) == ("5", "")


def test_a_journal_of_0_1_0_has_no_reasoning_and_gets_its_table(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    key = Request("a").key("m")

    async def put(text: str) -> Completion | None:
        async with Journal(path) as journal:
            await journal.put(key, Completion(text, "stop", 1, 2))
            return journal.find(key)

    asyncio.run(put("old"))
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE reasoning")
    connection.close()
    assert read_totals(path).replies == 1
    found = asyncio.run(put("new"))
    assert found is not None and found.text == "old"


def test_keys_know_of_further_fields_only_where_there_are_some() -> None:
    plain = Request("a", Sampling(seed=3))
    assert plain.key("m") == "3e5020c653182c1f5a77d54914b0e13d"
    assert Request("a", Sampling(seed=3, further_fields='{"a": 1}')).key("m") != plain.key("m")
