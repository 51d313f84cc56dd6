"""Batches of instructions of any format are answered, under the names that the file gives them."""

import asyncio
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evolcoder.evaluate.batch_inference import answer_batch, read_batch
from evolcoder.models.protocol import Completion, Request, Sampling
from evolcoder.progress import SilentProgress


class Echo:
    """Answers with the question."""

    name = "echo"

    async def complete(self, request: Request) -> Completion:
        (message,) = request.prompt
        return Completion(message.content, "stop", 1, 1)


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
