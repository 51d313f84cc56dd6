import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from teacher import ANSWER, TASKS, Teacher, harder, seeds

from evolcoder.errors import BudgetExhaustedError, DataError, RequestFailedError
from evolcoder.evolve.merging import merged_rows, pool_after
from evolcoder.evolve.rounds import RoundSummary, evolve_dataset, evolve_rounds
from evolcoder.evolve.settings import AskSettings, EvolveSettings
from evolcoder.instructions import read_instructions
from evolcoder.models.protocol import Completion, Message, Request
from evolcoder.progress import SilentProgress
from evolcoder.records import Instruction


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def one_round(out: Path, teacher: Teacher, texts: list[str] = TASKS, **settings) -> RoundSummary:
    """Evolve texts once, into `out/round-1`."""
    return round_of(seeds(texts), out, teacher, **settings)


def round_of(rows: list[Instruction], out: Path, teacher: Teacher, **settings) -> RoundSummary:
    work = evolve_rounds(rows, teacher, EvolveSettings(**settings), range(1, 2), out, SilentProgress())
    (summary,) = asyncio.run(work)
    return summary


def test_every_seed_is_evolved_and_answered_and_keeps_its_lineage(tmp_path: Path) -> None:
    summary = one_round(tmp_path, Teacher(usd=0.001))
    rows = rows_of(tmp_path / "round-1" / "evolved.jsonl")
    assert [row["instruction"] for row in rows] == [harder(text) for text in TASKS]
    assert all(row["response"] == ANSWER for row in rows)
    assert [(row["parent_id"], row["seed_id"]) for row in rows] == [(f"s{i}", f"s{i}") for i in range(6)]
    assert {row["teacher"] for row in rows} == {"scripted"}
    assert all(row["round"] == 1 and row["method"] in summary.methods for row in rows)
    assert (summary.asked, summary.kept, summary.requests) == (6, 6, 12)
    assert summary.usd == pytest.approx(0.012)
    assert json.loads((tmp_path / "round-1" / "summary.json").read_text())["kept"] == 6


def test_the_parquet_file_holds_the_same_rows(tmp_path: Path) -> None:
    one_round(tmp_path, Teacher())
    table = pq.read_table(tmp_path / "round-1" / "evolved.parquet").to_pylist()
    assert table == rows_of(tmp_path / "round-1" / "evolved.jsonl")


def test_a_round_that_keeps_nothing_writes_empty_files(tmp_path: Path) -> None:
    summary = one_round(tmp_path, Teacher(evolve=lambda text: text))
    assert (summary.kept, summary.eliminated) == (0, {"unchanged": 6})
    assert rows_of(tmp_path / "round-1" / "evolved.jsonl") == []
    assert pq.read_table(tmp_path / "round-1" / "evolved.parquet").num_rows == 0


def test_sampling_is_the_papers_and_its_seed_follows_from_the_row(tmp_path: Path) -> None:
    first, second = Teacher(), Teacher()
    one_round(tmp_path / "a", first)
    one_round(tmp_path / "b", second)
    sampling = first.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1.0, 0.9, 2048)
    assert [r.key("m") for r in first.requests] == [r.key("m") for r in second.requests]
    assert len({r.sampling.seed for r in first.requests}) == 6


def test_an_unchanged_instruction_is_dropped_before_a_judge_or_an_answer_is_paid_for(tmp_path: Path) -> None:
    teacher = Teacher(evolve=str.upper)
    summary = one_round(tmp_path, teacher, judge=True)
    assert summary.eliminated == {"unchanged": 6}
    assert len(teacher.requests) == 6


def test_the_judge_is_asked_before_the_answer_and_its_equal_drops_the_row(tmp_path: Path) -> None:
    teacher = Teacher(judge="Equal")
    assert one_round(tmp_path, teacher, judge=True).eliminated == {"equal": 6}
    assert len(teacher.requests) == 12
    assert one_round(tmp_path, Teacher(), judge=True).kept == 6


def test_refused_empty_and_cut_answers_are_dropped_with_reason_and_text(tmp_path: Path) -> None:
    def answer(text: str) -> str:
        return "Sorry, no." if "calendars" in text else "..." if "SQL" in text else ANSWER

    summary = one_round(tmp_path, Teacher(answer=answer))
    assert summary.eliminated == {"refused": 1, "empty": 1}
    dropped = rows_of(tmp_path / "round-1" / "eliminated.jsonl")
    assert [row["reason"] for row in dropped] == ["refused", "empty"]
    assert dropped[0]["instruction"] == harder(TASKS[0])
    assert dropped[0]["response"] == "Sorry, no."
    assert dropped[0]["detail"]

    cut = Teacher(finish=lambda kind: "length" if kind == "answer" else "stop")
    assert one_round(tmp_path, cut).eliminated == {"truncated": 6}
    assert one_round(tmp_path, cut, keep_truncated=True).kept == 6


def test_a_request_that_fails_for_good_drops_its_row_only(tmp_path: Path) -> None:
    class Poisoned(Teacher):
        async def complete(self, request: Request) -> Completion:
            if "git branch" in self.last(request):
                raise RequestFailedError("16 broken replies")
            return await super().complete(request)

    summary = one_round(tmp_path, Poisoned())
    assert (summary.kept, summary.eliminated) == (5, {"no reply": 1})


def test_a_budget_that_ends_stops_the_round_and_leaves_no_half_file(tmp_path: Path) -> None:
    class Broke(Teacher):
        async def complete(self, request: Request) -> Completion:
            if len(self.requests) == 5:
                raise BudgetExhaustedError("spent")
            return await super().complete(request)

    with pytest.raises(BudgetExhaustedError):
        one_round(tmp_path, Broke())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_eliminated_instruction_goes_back_to_the_pool_and_is_evolved_again(tmp_path: Path) -> None:
    def evolve(text: str) -> str:
        return text if "calendars" in text else harder(text)

    first = asyncio.run(
        evolve_dataset(seeds(TASKS), Teacher(evolve=evolve), EvolveSettings(), 1, tmp_path, SilentProgress())
    )
    assert first[0].eliminated == {"unchanged": 1}
    pool = list(pool_after(seeds(TASKS), [tmp_path / "round-1"]))
    assert [row.instruction for row in pool] == [TASKS[0], *map(harder, TASKS[1:])]

    work = evolve_dataset(seeds(TASKS), Teacher(), EvolveSettings(), 2, tmp_path, SilentProgress())
    both = asyncio.run(work)
    assert [s.kept for s in both] == [6, 6]


def test_the_merged_set_is_the_seeds_and_every_evolved_row_so_far(tmp_path: Path) -> None:
    asyncio.run(evolve_dataset(seeds(TASKS), Teacher(), EvolveSettings(), 3, tmp_path, SilentProgress()))
    merged = read_instructions(tmp_path / "dataset.jsonl")
    assert [row.lineage.round for row in merged] == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 6
    assert merged == list(merged_rows(seeds(TASKS), [tmp_path / f"round-{r}" for r in (1, 2, 3)]))
    last = merged[-1]
    parents = {row.id: row for row in merged}
    assert parents[str(last.lineage.parent_id)].lineage.round == 2
    assert last.lineage.seed_id == "s5"


def test_a_limit_keeps_evolving_the_same_trees(tmp_path: Path) -> None:
    work = evolve_dataset(seeds(TASKS), Teacher(), EvolveSettings(), 2, tmp_path, SilentProgress(), limit=2)
    assert [s.asked for s in asyncio.run(work)] == [2, 2]
    trees = [{row["seed_id"] for row in rows_of(tmp_path / f"round-{r}/evolved.jsonl")} for r in (1, 2)]
    assert trees[0] == trees[1]
    assert len(trees[0]) == 2


def test_copies_within_a_round_and_of_earlier_rounds_are_dropped(tmp_path: Path) -> None:
    copies = Teacher(evolve=lambda text: "Write a parser for INI files that keeps comments in place.")
    assert one_round(tmp_path, copies).eliminated == {"duplicate": 5}

    same_as_another_seed = Teacher(evolve=lambda text: TASKS[1] if "calendars" in text else harder(text))
    assert one_round(tmp_path, same_as_another_seed).eliminated == {"duplicate": 1}


def test_a_seed_that_is_given_twice_is_evolved_once(tmp_path: Path) -> None:
    twice = [*seeds(TASKS), *seeds(TASKS[:2])]
    summary = round_of(twice, tmp_path, Teacher())
    assert (summary.asked, summary.kept, summary.repeated_parents) == (6, 6, 2)


def test_the_seeds_input_is_part_of_the_question(tmp_path: Path) -> None:
    (seed,) = seeds(["Fix this code."])
    teacher = Teacher()
    round_of([replace(seed, input="for i in x print(i)")], tmp_path, teacher)
    assert "Fix this code.\nfor i in x print(i)" in Teacher.last(teacher.requests[0])


def test_thinking_is_in_neither_instruction_nor_response(tmp_path: Path) -> None:
    for i, before in enumerate(("<think>\nSorry, let me see.\n</think>\n\n", "Let me see.\n</think>\n\n")):
        asked: list[str] = []

        def answer(text: str, before: str = before, asked: list[str] = asked) -> str:
            asked.append(text)
            return before + ANSWER

        teacher = Teacher(evolve=lambda text, before=before: before + harder(text), answer=answer)  # type: ignore[misc]
        assert one_round(tmp_path / str(i), teacher).kept == 6
        rows = rows_of(tmp_path / str(i) / "round-1/evolved.jsonl")
        assert [row["instruction"] for row in rows] == [harder(text) for text in TASKS]
        assert {row["response"] for row in rows} == {ANSWER}
        assert ["see." in row["reasoning"] and "think>" not in row["reasoning"] for row in rows] == [True] * 6
        assert sorted(asked) == sorted(harder(text) for text in TASKS)


def test_a_reply_cut_off_or_filtered_before_any_text_is_told_as_that(tmp_path: Path) -> None:
    cut = Teacher(evolve=lambda text: "", finish=lambda kind: "length")
    assert one_round(tmp_path / "cut", cut).eliminated == {"truncated": 6}
    filtered = Teacher(answer=lambda text: "", finish=lambda k: "content_filter" if k == "answer" else "stop")
    assert one_round(tmp_path / "filtered", filtered).eliminated == {"refused": 6}


def test_reasoning_that_the_endpoint_tells_apart_is_the_rows_column_too(tmp_path: Path) -> None:
    class Thinking(Teacher):
        async def complete(self, request: Request) -> Completion:
            return replace(await super().complete(request), reasoning=f"about {self.last(request)[:20]}")

    one_round(tmp_path, Thinking())
    rows = rows_of(tmp_path / "round-1/evolved.jsonl")
    assert [row["reasoning"] for row in rows] == [f"about {row['instruction'][:20]}" for row in rows]
    one_round(tmp_path / "plain", Teacher())
    assert "reasoning" not in rows_of(tmp_path / "plain/round-1/evolved.jsonl")[0]


def test_words_around_an_instruction_are_cut_and_counted(tmp_path: Path) -> None:
    def chatty(text: str) -> str:
        return f"Sure! Here's a more challenging version:\n\n**Question:** {harder(text)}\n\nLet me know!"

    chats = Teacher(evolve=chatty)
    summary = one_round(tmp_path, chats)
    assert summary.preambles == summary.kept == 6
    rows = rows_of(tmp_path / "round-1/evolved.jsonl")
    assert [row["instruction"] for row in rows] == [harder(text) for text in TASKS]
    assert json.loads((tmp_path / "round-1/summary.json").read_text())["preambles"] == 6
    one_round(tmp_path / "plain", Teacher())
    assert "preambles" not in json.loads((tmp_path / "plain/round-1/summary.json").read_text())


def test_each_kind_of_request_has_its_own_settings(tmp_path: Path) -> None:
    phases = {
        "evolve": AskSettings(system="Du bist streng.", temperature=0.3, max_tokens=99),
        "answer": AskSettings(reasoning_effort="high", extra_body={"top_k": 5}),
        "judge": AskSettings(reasoning_effort="low", max_tokens=500),
    }
    teacher = Teacher()
    one_round(tmp_path, teacher, TASKS[:1], judge=True, phases=phases)
    evolve, judge, answer = teacher.requests
    assert evolve.prompt[0] == Message("system", "Du bist streng.")
    assert (evolve.sampling.temperature, evolve.sampling.max_tokens) == (0.3, 99)
    assert json.loads(answer.sampling.further_fields) == {"reasoning_effort": "high", "top_k": 5}
    assert (answer.sampling.temperature, answer.sampling.max_tokens) == (1.0, 2048)
    assert (judge.sampling.temperature, judge.sampling.max_tokens) == (0.0, 500)


def test_four_answers_cost_four_answers_and_one_evolution_and_the_next_round_evolves_once(
    tmp_path: Path,
) -> None:
    teacher = Several()
    summary = one_round(tmp_path, teacher, TASKS[:2], answers=4)
    rows = rows_of(tmp_path / "round-1/evolved.jsonl")
    assert len(teacher.requests) == 2 * (1 + 4)
    assert (summary.asked, summary.kept, summary.requests) == (2, 8, 10)
    assert [row["requests"] for row in rows] == [5, 0, 0, 0] * 2
    assert [row["response"][-1] for row in rows] == list("01230123")
    assert len({row["id"] for row in rows}) == 8
    second = round_of_all(tmp_path / "two", Several(), TASKS[:2], answers=4)
    assert [s.asked for s in second] == [2, 2]


def test_copies_among_the_answers_are_one_row_and_the_shortest_may_do(tmp_path: Path) -> None:
    assert one_round(tmp_path / "a", Teacher(), TASKS[:2], answers=4).kept == 2
    longer = Several(lambda index: ANSWER + "!" * (5 - index))
    assert one_round(tmp_path / "b", longer, TASKS[:2], answers=3, keep_answers="shortest").kept == 2
    assert {row["response"] for row in rows_of(tmp_path / "b/round-1/evolved.jsonl")} == {ANSWER + "!!!"}


class Several(Teacher):
    """Answers each sample of a question differently."""

    def __init__(self, answer: Callable[[int], str] = lambda index: f"{ANSWER}\n{index}") -> None:
        super().__init__()
        self.by_index = answer

    async def complete(self, request: Request) -> Completion:
        reply = await super().complete(request)
        return replace(reply, text=self.by_index(request.index)) if reply.text == ANSWER else reply


def round_of_all(out: Path, teacher: Teacher, texts: list[str], **settings) -> list[RoundSummary]:
    work = evolve_rounds(
        seeds(texts), teacher, EvolveSettings(**settings), range(1, 3), out, SilentProgress()
    )
    return asyncio.run(work)


def test_a_merge_that_cannot_be_written_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "dataset.jsonl").mkdir()
    teacher = Teacher()
    with pytest.raises(DataError, match=r"dataset\.jsonl: a folder stands where"):
        asyncio.run(evolve_dataset(seeds(TASKS), teacher, EvolveSettings(), 1, tmp_path, SilentProgress()))
    (tmp_path / "dataset.jsonl").rmdir()
    (seed,) = seeds(TASKS[:1])
    broken = replace(seed, extra={"column": Unwritable()})
    with pytest.raises(DataError, match="the seeds cannot be written"):
        asyncio.run(evolve_dataset([broken], teacher, EvolveSettings(), 1, tmp_path, SilentProgress()))
    assert (teacher.requests, list(tmp_path.iterdir())) == ([], [])


class Unwritable:
    """A value that has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_seeds_with_columns_of_any_kind_are_merged(tmp_path: Path) -> None:
    rows = [
        replace(seed, extra={"price": Decimal("0.1"), "raw": b"\x00", "tags": [1, {"a": timedelta(1)}]})
        for seed in seeds(TASKS[:2])
    ]
    asyncio.run(evolve_dataset(rows, Teacher(), EvolveSettings(), 1, tmp_path, SilentProgress()))
    merged = rows_of(tmp_path / "dataset.jsonl")
    assert (len(merged), merged[0]["price"], merged[0]["tags"]) == (4, "0.1", [1, {"a": 86400.0}])
