"""Every form that data sets give their rows is an instruction with its response, or a chat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evolcoder.errors import DataError
from evolcoder.instructions import instruction_from_row, instructions_from_row, read_instructions
from evolcoder.runs import content_hash

CHAT = [
    {"role": "user", "content": "Add."},
    {"role": "assistant", "content": "a + b"},
    {"role": "user", "content": "Now floats."},
    {"role": "assistant", "content": "math.fsum"},
]
SYSTEM = {"role": "system", "content": "Be brief."}


def sharegpt(chat: list[dict[str, str]]) -> list[dict[str, Any]]:
    roles = {"user": "human", "assistant": "gpt", "system": "system"}
    return [{"from": roles[turn["role"]], "value": turn["content"]} for turn in chat]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("instruction", "output"),
        ("prompt", "completion"),
        ("question", "answer"),
        ("query", "response"),
        ("problem", "solution"),
        ("Instruction", "generation"),
        ("Instruction", "Output"),
    ],
)
def test_known_names_of_instruction_and_response_are_found(asked: str, answered: str) -> None:
    row = instruction_from_row({asked: "Add.", answered: "a + b", "source": "x"})
    assert (row.instruction, row.response, row.extra) == ("Add.", "a + b", {"source": "x"})


def test_a_solution_is_the_response_of_a_problem_alone() -> None:
    worked = instruction_from_row({"problem": "2 + 2?", "solution": "Count: 4.", "answer": "4"})
    assert (worked.response, worked.extra) == ("Count: 4.", {"answer": "4"})
    task = instruction_from_row({"instruction": "Add.", "solution": "def add(a, b): ..."})
    assert (task.response, task.extra) == ("", {"solution": "def add(a, b): ..."})


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT},
        {"conversations": sharegpt(CHAT)},
        {"conversation": sharegpt(CHAT)},
        {"conversations": [{"from": "gpt", "value": "Hello!"}, *sharegpt(CHAT)]},
        {"conversations": json.dumps(sharegpt(CHAT))},
        {"messages": [*CHAT, {"role": "user", "content": "Thanks."}]},
        {"messages": [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in CHAT]},
        {"prompt": CHAT[:3], "completion": CHAT[3:]},
        {"prompt": "Add.", "messages": CHAT},
        {"messages": [{**turn, "role": turn["role"].replace("system", "developer")} for turn in CHAT]},
        {"conversations": [{**turn, "from": turn["from"].upper()} for turn in sharegpt(CHAT)]},
        {"instruction": "Now floats.", "output": "math.fsum", "history": [["Add.", "a + b"]]},
    ],
)
def test_a_chat_of_every_form_keeps_its_turns(row: dict[str, Any]) -> None:
    read = instruction_from_row(row)
    assert (read.instruction, read.response) == ("Add.", "math.fsum")
    assert read.extra["messages"] == CHAT


def test_a_system_message_stands_in_the_chat_or_in_a_column() -> None:
    for row in (
        {"conversations": sharegpt([SYSTEM, *CHAT])},
        {"system": "Be brief.", "conversations": sharegpt(CHAT)},
        {"system": "Other.", "messages": [{**SYSTEM}, *CHAT], "id": "a"},
    ):
        kept = {"system": "Other."} if row.get("system") == "Other." else {}
        assert instruction_from_row(row).extra == {"messages": [SYSTEM, *CHAT], **kept}


def test_a_foreign_column_of_turns_beside_instruction_and_response_is_kept_as_it_is() -> None:
    row = instruction_from_row({"instruction": "Add.", "output": "a + b", "conversations": 7})
    assert (row.instruction, row.extra) == ("Add.", {"conversations": 7})


@pytest.mark.parametrize(
    ("chat", "said"),
    [
        ("text", "a list of objects is expected"),
        ([{"from": "human", "value": "a"}, {"from": "human", "value": "b"}], "found user, user"),
        ([{"from": "human", "value": "a"}, {"from": "tool", "value": "b"}], "found user, tool"),
        ([{"from": "human"}, {"from": "gpt", "value": "b"}], "each content is expected to be text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "each content is expected to be text"),
        ([], "found nothing"),
    ],
)
def test_what_is_no_chat_is_told_as_that(chat: Any, said: str) -> None:
    with pytest.raises(ValueError, match="field 'conversations'") as raised:
        instruction_from_row({"conversations": chat})
    assert said in str(raised.value)


def test_any_columns_are_read_under_the_names_that_they_are_given() -> None:
    (row,) = instructions_from_row(
        {"Aufgabe": "Add.", "Code": "a + b", "instruction": "a hint", "messages": "none", "lang": "py"},
        {"instruction": "Aufgabe", "response": "Code"},
    )
    assert (row.instruction, row.response) == ("Add.", "a + b")
    assert row.extra == {"lang": "py", "original_instruction": "a hint", "original_messages": "none"}
    with pytest.raises(ValueError, match=r"column 'Task' is missing \(found: Aufgabe\)"):
        instructions_from_row({"Aufgabe": "Add."}, {"instruction": "Task"})


STORED = {
    "instruction": "Add.",
    "evolved_instructions": ["Add two numbers.", "Add two numbers of any base."],
    "answers": ["a + b", "int(a, base) + int(b, base)"],
    "model_name": "gpt-4o-mini",
    "topic": "sums",
}


def test_evolutions_that_distilabel_stored_are_a_row_each_by_round() -> None:
    first, second = instructions_from_row(STORED)
    assert [row.instruction for row in (first, second)] == STORED["evolved_instructions"]
    assert [row.response for row in (first, second)] == STORED["answers"]
    assert [row.lineage.round for row in (first, second)] == [1, 2]
    assert first.lineage.seed_id == second.lineage.seed_id == content_hash("Add.", "")[:16]
    assert second.lineage.parent_id == first.id
    assert first.extra == {"topic": "sums", "evolved_from": "Add."}
    assert second.extra == {"topic": "sums", "evolved_from": "Add two numbers."}


def test_stored_evolutions_may_begin_with_the_instruction_and_have_one_answer() -> None:
    row = {**STORED, "evolved_instructions": ["Add.", "Add two numbers."], "id": "x"}
    del row["answers"]
    seed, evolved = instructions_from_row({**row, "answer": "a + b"})
    assert (seed.lineage.round, seed.lineage.teacher, seed.response) == (0, None, "")
    assert (evolved.lineage.round, evolved.lineage.teacher, evolved.response) == (1, "gpt-4o-mini", "a + b")
    assert (seed.id, evolved.id, evolved.lineage.parent_id) == ("x-0", "x-1", "x-0")
    with pytest.raises(ValueError, match="field 'answers': 2 are expected"):
        instructions_from_row({**row, "answers": ["a + b"]})


def test_a_round_that_counts_something_else_is_a_foreign_column() -> None:
    for value in ("Codeforces Round 12", float("nan"), [1]):
        row = instruction_from_row({"instruction": "Add.", "round": value})
        assert (row.lineage.round, list(row.extra)) == (0, ["original_round"])


def test_rows_with_one_id_and_different_text_are_kept_apart(tmp_path: Path) -> None:
    lines = [
        {"id": "math", "instruction": "Add."},
        {"id": "math", "instruction": "Subtract."},
        {"id": "math", "instruction": "Add.", "output": "another answer"},
        {"id": "math", "instruction": "Subtract."},
        {"id": "other", "instruction": "Divide.", "seed_id": "math"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read_instructions(tmp_path / "a.jsonl")
    assert [row.id for row in rows][::2] == ["math", "math", "other"]
    assert rows[1].id == rows[3].id == rows[1].lineage.seed_id not in ("math", "other")
    assert rows[4].lineage.seed_id == "math"
    assert read_instructions(tmp_path / "a.jsonl") == rows


def test_a_row_without_a_known_field_says_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"Aufgabe": "Add."}\n')
    with pytest.raises(DataError, match=r"fields accepted: instruction, .*conversations; .*--columns"):
        read_instructions(tmp_path / "a.jsonl")


def test_tasks_and_rows_to_train_on_are_read_from_columns_of_any_name(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from evolcoder.cli import cli
    from evolcoder.reinforce.tasks import read_tasks

    row = {
        "Aufgabe": "Write add(a, b).",
        "Code": "def add(a, b): return a + b",
        "check": "assert add(1, 2) == 3",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (task,) = read_tasks(
        tmp_path / "a.jsonl", {"instruction": "Aufgabe", "tests": "check", "solution": "Code"}
    )
    assert (task.instruction, task.entry_point, len(task.tests)) == ("Write add(a, b).", "add", 1)

    columns = ("--columns", "instruction=Aufgabe", "--columns", "response=Code")
    plan = ("train", "--recipe", "starcoderbase-1b", "--data", str(tmp_path / "a.jsonl"), "--plan", "--json")
    told = CliRunner().invoke(cli, [*plan, *columns], catch_exceptions=False)
    assert json.loads(told.stdout)["rows"] == 1
