import asyncio
from pathlib import Path

from teacher import TASKS, Teacher, seeds

from evolcoder.evolve.rounds import LiveCounts, by_number, evolve_dataset
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.models.opening import open_model
from evolcoder.models.protocol import Completion, Message, Request, Sampling
from evolcoder.models.stats import RequestStats
from evolcoder.progress import Bar


def test_money_is_told_so_far_and_for_the_end_of_the_last_round() -> None:
    live = LiveCounts(Teacher(), rows=10, usd_before=1.0, rounds_after=2)
    for _ in range(4):
        live.add_reply(Completion("", "stop", 10, 20, 0.2))
        live.add_reply(Completion("", "stop", 20, 20, 0.3))
        live.add_row()
    assert live.facts(4, {})["usd"] == "3.0000 of about 16.0000"
    assert live.facts(4, {})["tokens"] == 280


def test_failures_by_kind_and_eliminations_by_reason_are_told_largest_first() -> None:
    model = Teacher()
    model.stats = RequestStats(in_flight=7)  # type: ignore[attr-defined]
    model.stats.retries.update({"server": 2, "rate limit": 9})  # type: ignore[attr-defined]
    facts = LiveCounts(model, 10, 0.0, 0).facts(1, {"empty": 1, "refused": 3})
    assert facts["in flight"] == 7
    assert facts["asked again"] == "9 rate limit, 2 server"
    assert facts["eliminated"] == "3 refused, 1 empty"
    assert by_number({}) == ""


def test_a_rounds_bar_counts_every_row_and_ends_with_the_facts(tmp_path: Path) -> None:
    class Shown:
        def __init__(self) -> None:
            self.rows, self.facts = 0, {}

        def advance(self, n: int = 1, **facts: str | float) -> None:
            self.rows += n
            self.facts.update(facts)

    class Watching:
        def __init__(self) -> None:
            self.bars: list[Shown] = []

        def bar(self, name: str, total: int | None):  # type: ignore[no-untyped-def]
            from contextlib import nullcontext

            self.bars.append(Shown())
            bar: Bar = self.bars[-1]
            return nullcontext(bar)

        def note(self, line: str) -> None:
            pass

    progress = Watching()
    teacher = Teacher(usd=0.001, answer=lambda text: "" if "calendars" in text else "x = 1")
    asyncio.run(evolve_dataset(seeds(TASKS), teacher, EvolveSettings(), 2, tmp_path, progress))
    assert [bar.rows for bar in progress.bars] == [6, 6]
    assert progress.bars[0].facts["usd"] == "0.0120 of about 0.0240"
    assert progress.bars[1].facts["usd"] == "0.0240 of about 0.0240"
    assert progress.bars[0].facts["eliminated"] == "1 empty"
    assert progress.bars[0].facts["kept"] == 5


def test_tokens_of_a_teacher_in_this_process_are_told_before_its_first_wave_ends(
    tmp_path: Path, benchmark_data: Path
) -> None:

    async def tokens_while_it_writes() -> int:
        async with open_model("embedded") as model:
            live = LiveCounts(model, 1, 0.0, 0)
            asked = asyncio.create_task(
                model.complete(Request((Message("user", "Count to ten."),), Sampling(max_tokens=24)))
            )
            seen = set()
            while not asked.done():
                seen.add(live.facts(0, {})["tokens"])
                await asyncio.sleep(0.01)
            assert len(seen) > 3
            live.add_reply(await asked)
            return int(live.facts(0, {})["tokens"])

    assert asyncio.run(asyncio.wait_for(tokens_while_it_writes(), 60)) > 24
