"""Batches of instructions of any format are answered, under the names that the file gives them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evolcoder.errors import DataError, EndpointError, RequestRefusedError
from evolcoder.evaluate.batch_inference import answer_batch, read_batch
from evolcoder.models.protocol import Completion, Request, Sampling
from evolcoder.progress import SilentProgress
from evolcoder.runs import write_jsonl_whole


class Echo:
    """Answers with the question."""

    name = "echo"

    async def complete(self, request: Request) -> Completion:
        if isinstance(request.prompt, str):
            return Completion(request.prompt, "stop", 1, 1)
        return Completion(" | ".join(message.content for message in request.prompt), "stop", 1, 1)


def test_columns_of_any_name_and_type_are_answered_and_kept(tmp_path: Path) -> None:
    columns = {"Aufgabe": pa.array(["Add."]), "Text": pa.array(["1 2"]), "raw": pa.array([b"\x00"])}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    named = {"instruction": "Aufgabe", "input": "Text"}
    rows = read_batch(tmp_path / "a.parquet", named)
    out = tmp_path / "out.jsonl"
    work = answer_batch(Echo(), rows, Sampling(), "chat", out, SilentProgress(), columns=named)
    asyncio.run(work)
    assert json.loads(out.read_text()) == {
        "Aufgabe": "Add.",
        "Text": "1 2",
        "raw": "AA==",
        "response": "Add.\n\n1 2",
        "finish_reason": "stop",
    }


class Refusing(Echo):
    """Will not answer some questions."""

    async def complete(self, request: Request) -> Completion:
        if "harm" in str(request.prompt):
            raise RequestRefusedError("http://x/v1: refuses one request\n(HTTP 400: flagged)")
        return await super().complete(request)


def test_a_row_that_is_refused_costs_the_others_no_answer(tmp_path: Path) -> None:
    rows = [{"instruction": text} for text in ("Add.", "Do harm.", "Sort.")]
    out, progress = tmp_path / "out.jsonl", SilentProgress()
    summary = asyncio.run(answer_batch(Refusing(), rows, Sampling(), "chat", out, progress))
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["response"] for row in written] == ["Add.", "", "Sort."]
    assert written[1]["absent"] == "http://x/v1: refuses one request (HTTP 400: flagged)"
    assert (summary.rows, summary.absent) == (3, 1)
    out.unlink()
    with pytest.raises(EndpointError, match=r"no row was answered: .* flagged"):
        asyncio.run(answer_batch(Refusing(), rows[1:2], Sampling(), "chat", out, progress))
    assert not out.exists()


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def test_a_chat_is_asked_up_to_its_last_question(tmp_path: Path) -> None:
    rows = [
        {"messages": turns("Add.")},
        {"messages": turns("Add.", "Done.", "Again.", "the answer of before")},
        {"conversations": [{"from": "human", "value": "Hi."}], "system": "Be brief."},
        {"prompt": turns("Sort.")},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_batch(tmp_path / "a.jsonl", style="chat")
    out = tmp_path / "out.jsonl"
    asyncio.run(answer_batch(Echo(), read, Sampling(), "chat", out, SilentProgress()))
    answered = [json.loads(line) for line in out.read_text().splitlines()]
    asked = ["Add.", "Add. | Done. | Again.", "Be brief. | Hi.", "Sort."]
    assert [row["response"] for row in answered] == asked
    assert [row.get("messages") for row in answered] == [row.get("messages") for row in rows]


def test_a_chat_in_a_column_of_any_name_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"Gespräch": turns("Add.", "Done.", "Again.")}) + "\n")
    named, out = {"messages": "Gespräch"}, tmp_path / "out.jsonl"
    rows = read_batch(tmp_path / "a.jsonl", named, "chat")
    asyncio.run(answer_batch(Echo(), rows, Sampling(), "chat", out, SilentProgress(), columns=named))
    assert json.loads(out.read_text())["response"] == "Add. | Done. | Again."


def test_the_published_prompt_takes_one_question_and_says_so_before_anything_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": turns("Add.")}) + "\n")
    work = answer_batch(
        Echo(), read_batch(path), Sampling(), "wizardcoder", tmp_path / "out.jsonl", SilentProgress()
    )
    asyncio.run(work)
    response = json.loads((tmp_path / "out.jsonl").read_text())["response"]
    assert "### Instruction:\nAdd.\n\n### Response:" in response
    for wrong, said in (
        (turns("Add.", "Done.", "Again."), "a chat of 3 messages, which --style chat takes"),
        (turns("Add.")[:0], "user and assistant by turns are expected"),
        (turns("Add.") * 2, "user and assistant by turns are expected"),
    ):
        path.write_text(json.dumps({"messages": wrong}) + "\n")
        with pytest.raises(DataError, match=said):
            read_batch(path)


def test_the_published_fields_keep_a_rows_id_whatever_its_name(tmp_path: Path) -> None:
    ids: list[dict[str, Any]] = [{"idx": 7}, {"id": "b"}, {"task_id": "T/1"}, {"idx": None}, {}]
    write_jsonl_whole(tmp_path / "a.jsonl", [{**row, "instruction": "Add."} for row in ids])
    out = tmp_path / "out.jsonl"
    asked = read_batch(tmp_path / "a.jsonl")
    asyncio.run(answer_batch(Echo(), asked, Sampling(), "chat", out, SilentProgress(), "wizardcoder"))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [7, "b", "T/1", 4, 5]
    assert {tuple(row) for row in rows} == {("id", "instruction", "wizardcoder")}
