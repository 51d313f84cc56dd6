"""The data set in the formats that others read: alpaca JSON, chat messages, a folder ready for the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evolcoder.evolve.data_card import CardFacts, data_card
from evolcoder.evolve.data_stats import stats_of_rows
from evolcoder.evolve.evolve_one import question_of
from evolcoder.evolve.row_files import RowFile
from evolcoder.instructions import write_instructions
from evolcoder.records import Instruction
from evolcoder.runs import making_folder_whole, open_writer, write_jsonl_whole, writing_whole

HUB_EXPORT = "hub export"
"""The kind of output, in the mark of its folder."""


def write_alpaca(path: Path, rows: Iterable[Instruction]) -> int:
    """Write a JSON list of {instruction, input, output} (gzip for a .gz name), whole or not at all.

    Returns the number of rows.
    """
    count = 0
    with writing_whole(path) as partial, open_writer(path.name)(partial) as f:
        f.write(b"[")
        for row in rows:
            f.write(b",\n" if count else b"\n")
            f.write(json.dumps(_alpaca_row(row), ensure_ascii=False).encode("utf-8", "replace"))
            count += 1
        f.write(b"\n]\n")
    return count


def _alpaca_row(row: Instruction) -> dict[str, Any]:
    """Return {instruction, input, output}; a chat of several turns has the earlier ones in `history`."""
    chat = row.extra.get("messages") or []
    system = chat[0]["content"] if chat and chat[0]["role"] == "system" else ""
    texts = [message["content"] for message in chat[bool(system) :]]
    if not system and len(texts) <= 2:
        return {"instruction": row.instruction, "input": row.input, "output": row.response}
    pairs = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]
    item: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    return {**item, "system": system, "history": pairs[:-1]}


def write_chat(path: Path, rows: Iterable[Instruction]) -> int:
    """Write JSONL of {id, messages}, as trainers of chat models read it; return the count."""
    return write_jsonl_whole(path, map(chat_row, rows))


def chat_row(row: Instruction) -> dict[str, Any]:
    """Return one row as a conversation, with its id; of two turns where it is no chat itself."""
    return {
        "id": row.id,
        "messages": row.extra.get("messages")
        or [{"role": "user", "content": question_of(row)}, {"role": "assistant", "content": row.response}],
    }


def write_hub_folder(path: Path, rows: Iterable[Instruction], facts: CardFacts) -> int:
    """Write a folder that `push_to_hub` or `hf upload` takes: README.md, data/train.parquet, eliminated rows.

    Whole or not at all; return the number of rows.
    """
    with making_folder_whole(path, HUB_EXPORT) as folder:
        train = folder / "data" / "train.parquet"
        count = write_instructions(train, rows)
        stats = stats_of_rows(RowFile(train))
        if facts.eliminated_files:
            with (folder / "eliminated.jsonl").open("wb") as out:
                for file in facts.eliminated_files:
                    with file.open("rb") as f:
                        shutil.copyfileobj(f, out)
        (folder / "README.md").write_text(data_card(facts, stats), encoding="utf-8")
    return count
